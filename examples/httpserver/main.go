// Command httpserver is a server on net/http that graceinit upgrades without losing a request. What it does for that is
// in main: take the listeners, say that it is ready, stop with httpdown. Nothing in it knows of graceinit: it would do
// as well under systemd with socket activation.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/graceinit/graceinit/drain/httpdown"
)

func main() {
	address := flag.String("listen", ":8080", "address to listen on where no listeners are passed (LISTEN_FDS)")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	listeners, err := activation.Listeners()
	if err == nil && len(listeners) == 0 {
		listeners = make([]net.Listener, 1)
		listeners[0], err = net.Listen("tcp", *address)
	}
	if err != nil {
		log.Fatal(err)
	}
	// Clients can connect by now: the sockets are listening, what comes is queued until Serve takes it.
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Print(err)
	}
	if err := httpdown.Serve(ctx, &http.Server{Handler: http.HandlerFunc(hello)}, listeners...); err != nil {
		log.Fatal(err)
	}
}

func hello(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "hello from generation %s, pid %d\n", os.Getenv("GRACEINIT_GENERATION"), os.Getpid())
}
