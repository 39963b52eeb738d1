// Command load runs the load of the container tests beside the server, in its container: what leads there from outside
// is different under every runtime. It says "busy" when the load runs in full, ends with its standard input, and prints
// what became of the requests.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// Result is what is printed, as JSON.
type Result struct {
	Requests   int
	Generation map[string]int // requests by the pid that answered
	Failures   []string
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(addr, slow string) error {
	r, err := load.Start(context.Background(), load.Config{
		Addr: addr, SlowPath: slow, KeepAliveRate: 100, FreshRate: 50, SlowInFlight: 8})
	if err != nil {
		return err
	}
	go func() {
		for r.InFlight(load.Slow) < 8 || r.Succeeded() < 50 {
			time.Sleep(10 * time.Millisecond)
		}
		fmt.Println("busy")
	}()
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	result := r.Stop()
	out := Result{Requests: result.Requests, Generation: result.ByPID}
	for _, f := range result.Failures {
		out.Failures = append(out.Failures, f.String())
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
