package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"

	"github.com/graceinit/graceinit/internal/control"
)

// asker asks the init for its status: one question at a time, for all scrapes that wait for its answer. A scrape never
// waits for longer than the timeout, and the init never has more than one connection of ours.
type asker struct {
	address string // as control.Dial takes it
	timeout time.Duration
	log     *log.Logger

	mu      sync.Mutex
	current *answer // the one that is waited for

	noting sync.Mutex
	up     bool            // the init answered the last time
	said   map[string]bool // why it did not, as logged since it last answered
}

// answer may be read when done is closed.
type answer struct {
	done   chan struct{}
	status *control.Status
	err    error
}

// status returns the init's status, and logs when the init stops answering, or answers again.
func (a *asker) status() (*control.Status, error) {
	got := a.ask()
	timer := time.NewTimer(a.timeout)
	defer timer.Stop()
	select {
	case <-got.done:
		a.note(got.status, got.err)
		return got.status, got.err
	case <-timer.C:
		err := a.late()
		a.note(nil, err)
		return nil, err
	}
}

// ask returns the answer that is being waited for, and asks if there is none.
func (a *asker) ask() *answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current != nil {
		return a.current
	}
	got := &answer{done: make(chan struct{})}
	a.current = got
	go func() {
		got.status, got.err = a.question()
		a.mu.Lock()
		a.current = nil
		a.mu.Unlock()
		close(got.done)
	}()
	return got
}

// question asks. Connecting and sending have bounds of their own (package control), which keep the goroutine from staying
// for ever; they are no concern of the scrapes, which wait in status.
func (a *asker) question() (*control.Status, error) {
	begin := time.Now()
	client, err := control.Dial(a.address)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.Send(control.Ask{Op: control.OpStatus}, -1); err != nil {
		return nil, err
	}
	left := a.timeout - time.Since(begin)
	if left <= 0 { // which Next would take for no bound at all
		return nil, a.late()
	}
	line, err := client.Next(left)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, a.late()
	case errors.Is(err, io.EOF):
		return nil, errors.New("it hung up without an answer")
	case err != nil:
		return nil, err
	case line.Error != nil:
		return nil, fmt.Errorf("it refused to answer: %s", line.Error.Reason)
	case line.Status == nil:
		return nil, errors.New("its answer is no status")
	}
	return line.Status, nil
}

func (a *asker) late() error { return fmt.Errorf("no answer within %s", a.timeout) }

// maxReasons bounds what is logged while the init does not answer.
const maxReasons = 8

// note logs changes, not scrapes: that the init answers, that it does not any more, and every new reason for that.
func (a *asker) note(status *control.Status, err error) {
	a.noting.Lock()
	defer a.noting.Unlock()
	if err == nil {
		if !a.up {
			a.log.Printf("graceinit %s answers", status.Version)
		}
		a.up, a.said = true, nil
		return
	}
	reason := err.Error()
	if a.said == nil {
		a.said = map[string]bool{}
	}
	if !a.said[reason] && len(a.said) < maxReasons {
		a.said[reason] = true
		a.log.Printf("the init does not answer: %s", reason)
	}
	a.up = false
}
