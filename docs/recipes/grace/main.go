// Command app is a server that upgrades itself with facebookgo/grace: SIGUSR2 starts a successor.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/facebookgo/grace/gracehttp"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(4 * time.Second)
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
	})
	if err := gracehttp.Serve(&http.Server{Addr: ":8080"}); err != nil {
		log.Fatal(err)
	}
}
