"""A server on Python's own http.server that takes its listener from graceinit and ends without losing a request."""
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

draining = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5  # connections on which nothing happens end after so long, in a drain too

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(4)
        body = b"pid %d\n" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if draining.is_set():
            self.send_header("Connection", "close")  # ends this handler's loop as well
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the connections


def inherited():
    """The listener that graceinit holds: systemd's protocol passes sockets from fd 3 on."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=3)
    return socket.create_server(("", 8080))


def notify(message):
    """sd_notify(3)"""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect("\0" + path[1:] if path[0] == "@" else path)
            s.send(message)


def stop(*_):
    draining.set()
    # shutdown() waits for serve_forever(), which this handler has interrupted: it needs a thread of its own.
    threading.Thread(target=server.shutdown).start()


server = Server(None, Handler, bind_and_activate=False)
server.socket.close()
server.socket = inherited()
# Both generations wait on one listener. accept() must not block for a connection that the other one took.
server.socket.setblocking(False)
signal.signal(signal.SIGTERM, stop)
notify(b"READY=1")
server.serve_forever()
notify(b"STOPPING=1")
server.server_close()
