package lifecycle

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/graceinit/graceinit/internal/control"
)

// Whoever watches and leaves is forgotten although nothing ever happens.
func TestWatchersThatLeave(t *testing.T) {
	server, err := control.Listen(fmt.Sprintf("@graceinit-test-audience-%d", os.Getpid()), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go server.Serve()
	l := &Loop{machine: New(Config{})}
	for range 5 {
		client, err := control.Dial(server.Address)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Send(control.Ask{Op: control.OpWatch}, -1); err != nil {
			t.Fatal(err)
		}
		r := <-server.Requests()
		l.serve(r)
		if line, err := client.Next(time.Minute); err != nil || line.Status == nil {
			t.Errorf("%+v, %v", line, err)
		}
		client.Close()
		<-r.Done()
	}
	if n := len(l.audience.watchers); n > 1 {
		t.Errorf("%d watchers that have gone are kept", n)
	}
}
