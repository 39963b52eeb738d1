// Command app is a server that upgrades itself with cloudflare/tableflip: SIGUSR2 starts a successor, SIGTERM stops.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR2, syscall.SIGTERM)

	up, err := tableflip.New(tableflip.Options{})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for s := range signals {
			if s == syscall.SIGTERM {
				up.Stop()
				return
			}
			if err := up.Upgrade(); err != nil {
				log.Printf("cannot upgrade: %v", err)
			}
		}
	}()

	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(4 * time.Second)
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
	})

	// Before Ready: a successor that cannot listen must fail while the predecessor still serves.
	l, err := up.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	var srv server
	srv.serve(http.DefaultServeMux, l)
	if err := up.Ready(); err != nil {
		log.Fatal(err)
	}
	<-up.Exit()
	srv.drain()
}
