//! A server for systemd's socket activation: it takes its listener by the crate listenfd, says READY=1, and ends
//! without losing a request. It speaks just enough HTTP for the recipe; what matters is main.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::SIGTERM;

/// How long a connection may be idle, in a drain too.
const IDLE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, stop.clone())?;

    let listener = match listenfd::ListenFd::from_env().take_tcp_listener(0)? {
        Some(inherited) => inherited,
        None => TcpListener::bind("0.0.0.0:8080")?,
    };
    // Both generations wait on one listener: accept must not block for a connection that the other one took.
    listener.set_nonblocking(true)?;
    let open = Arc::new(AtomicUsize::new(0));
    notify("READY=1")?;

    while !stop.load(SeqCst) {
        match listener.accept() {
            Ok((conn, _)) => {
                open.fetch_add(1, SeqCst);
                let (open, stop) = (open.clone(), stop.clone());
                std::thread::spawn(move || {
                    let _ = serve(conn, &stop); // the client went away, or was idle for too long
                    open.fetch_sub(1, SeqCst);
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    drop(listener);
    notify("STOPPING=1")?;
    while open.load(SeqCst) > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn serve(mut conn: TcpStream, stop: &AtomicBool) -> Result<()> {
    conn.set_nonblocking(false)?;
    conn.set_read_timeout(Some(IDLE))?;
    let mut requests = BufReader::new(conn.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if requests.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        if head.starts_with("GET /slow ") {
            std::thread::sleep(Duration::from_secs(4));
        }
        let last = stop.load(SeqCst) || head.to_lowercase().contains("\r\nconnection: close\r\n");
        let body = format!("pid {}\n", std::process::id());
        write!(
            conn,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{}\r\n{}",
            body.len(),
            if last { "Connection: close\r\n" } else { "" },
            body
        )?;
        if last {
            return Ok(());
        }
    }
}

/// sd_notify(3), by graceinit: std reaches abstract sockets, as graceinit's is, only from Rust 1.70 on.
fn notify(message: &str) -> Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        std::process::Command::new("/graceinit").args(["notify", message]).status()?;
    }
    Ok(())
}
