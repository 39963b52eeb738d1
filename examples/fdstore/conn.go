package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
)

// conn is a connection and all that is known of it. No byte is ever anywhere else than in the kernel, In, Count or Out,
// so serve may be interrupted at any read or write, and taken up by another process.
type conn struct {
	net.Conn `json:"-"`
	ID       int
	Count    int    // lines
	In       []byte // was read, but is not counted yet
	Out      []byte // answers that are not written yet
}

// maxLine bounds In.
const maxLine = 4096

// serve counts until the connection ends, or until a deadline, which stop sets.
func (c *conn) serve(generation int) error {
	buf := make([]byte, maxLine)
	for {
		for {
			_, rest, complete := bytes.Cut(c.In, []byte("\n"))
			if !complete {
				break
			}
			c.In = rest
			c.Count++
			c.Out = fmt.Appendf(c.Out, "%d %d\n", c.Count, generation)
		}
		if len(c.In) > maxLine {
			return errors.New("line too long")
		}
		if len(c.Out) > 0 {
			n, err := c.Write(c.Out)
			c.Out = c.Out[n:]
			if err != nil {
				return err
			}
		}
		n, err := c.Read(buf)
		c.In = append(c.In, buf[:n]...)
		if err != nil {
			return err
		}
	}
}

// state is what a generation leaves to the next, beside the connections themselves.
type state struct {
	Generation int
	LastID     int
	Conns      []*conn
}

// read reads the state from its file. Its offset is shared with whoever wrote it, so it is not relied on.
func (s *state) read(f *os.File) error {
	if err := json.NewDecoder(io.NewSectionReader(f, 0, math.MaxInt64)).Decode(s); err != nil {
		return fmt.Errorf("cannot read the predecessor's state: %w", err)
	}
	return nil
}
