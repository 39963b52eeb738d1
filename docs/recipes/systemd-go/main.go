// Command app is a server for systemd's socket activation, as one writes it with coreos/go-systemd. It knows nothing of
// graceinit and listens on nothing by itself.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(4 * time.Second)
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
	})

	listeners, err := activation.Listeners()
	if err != nil {
		log.Fatal(err)
	}
	if len(listeners) == 0 {
		log.Fatal("no sockets were passed (LISTEN_FDS)")
	}
	var srv server
	srv.serve(http.DefaultServeMux, listeners...)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Fatal(err)
	}
	<-stop
	if _, err := daemon.SdNotify(false, daemon.SdNotifyStopping); err != nil {
		log.Print(err)
	}
	srv.drain()
}
