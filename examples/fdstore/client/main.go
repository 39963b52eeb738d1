// Command client counts on many connections to fdstore at once, and checks every answer: no connection may end, no
// count may be left out or come twice. Its exit code is 0 if all was well.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

func main() {
	var c counting
	flag.StringVar(&c.address, "connect", "127.0.0.1:7000", "the server's address")
	flag.IntVar(&c.connections, "connections", 1000, "how many connections")
	flag.IntVar(&c.upgrades, "upgrades", 0, "end when every connection has been through so many upgrades")
	flag.DurationVar(&c.duration, "duration", 30*time.Second, "end after so long; with -upgrades, fail then")
	flag.DurationVar(&c.pause, "pause", 200*time.Millisecond, "the longest pause between two messages of a connection")
	flag.Parse()
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

type counting struct {
	address               string
	connections, upgrades int
	duration, pause       time.Duration

	mu          sync.Mutex
	answers     int
	longest     time.Duration // from a message to its answer
	generations map[int]int   // how many connections have seen each
	failures    []error
}

func (c *counting) run() error {
	c.generations = map[int]int{}
	conns := make([]net.Conn, c.connections)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", c.address); err != nil {
			return err
		}
	}
	fmt.Printf("%d connections are open\n", len(conns))
	deadline := time.Now().Add(c.duration)
	var all sync.WaitGroup
	for i, conn := range conns {
		all.Go(func() {
			if err := c.count(conn, deadline); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.failures = append(c.failures, fmt.Errorf("connection %d: %w", i+1, err))
			}
		})
	}
	all.Wait()
	fmt.Printf("%d connections, %d answers, %d generations, longest wait %v, %d failures\n",
		len(conns), c.answers, len(c.generations), c.longest.Round(time.Millisecond), len(c.failures))
	if len(c.failures) > 0 {
		return c.failures[0]
	}
	return nil
}

// count sends messages of one to five lines, in pieces, and reads the answers.
func (c *counting) count(conn net.Conn, deadline time.Time) error {
	defer conn.Close()
	if err := conn.SetDeadline(deadline.Add(10 * time.Second)); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	last, first, generation := 0, 0, 0
	for first == 0 || generation < first+c.upgrades || c.upgrades == 0 {
		if time.Now().After(deadline) {
			if c.upgrades > 0 {
				return fmt.Errorf("only %d upgrades in %v", generation-first, c.duration)
			}
			return nil
		}
		lines := 1 + rand.IntN(5)
		sent := time.Now()
		if err := sendInPieces(conn, strings.Repeat("a line\n", lines)); err != nil {
			return err
		}
		for range lines {
			g, err := answer(r, last+1)
			if err != nil {
				return err
			}
			last++
			if g < generation {
				return fmt.Errorf("answer %d of generation %d after one of %d", last, g, generation)
			}
			c.note(g, g != generation, time.Since(sent))
			if first == 0 {
				first = g
			}
			generation = g
		}
		time.Sleep(rand.N(c.pause))
	}
	return nil
}

func (c *counting) note(generation int, isNew bool, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers++
	c.longest = max(c.longest, wait)
	if isNew {
		c.generations[generation]++
		if c.generations[generation] == c.connections {
			fmt.Printf("generation %d has answered on every connection\n", generation)
		}
	}
}

func sendInPieces(conn net.Conn, text string) error {
	for text != "" {
		n := 1 + rand.IntN(len(text))
		if _, err := io.WriteString(conn, text[:n]); err != nil {
			return err
		}
		text = text[n:]
		time.Sleep(rand.N(5 * time.Millisecond)) // an upgrade may come in the middle of a line
	}
	return nil
}

func answer(r *bufio.Reader, want int) (generation int, err error) {
	line, err := r.ReadString('\n')
	if errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("closed before answer %d", want)
	}
	if err != nil {
		return 0, fmt.Errorf("answer %d: %w", want, err)
	}
	var count int
	if _, err := fmt.Sscanf(line, "%d %d\n", &count, &generation); err != nil {
		return 0, fmt.Errorf("answer %d is %q", want, line)
	}
	if count != want {
		return 0, fmt.Errorf("answer %d, but %d was to come", count, want)
	}
	return generation, nil
}
