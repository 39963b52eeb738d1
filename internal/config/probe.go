package config

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/listen"
)

// Command is a command line in one string. It is split at white space; one in which something would mean more than
// that to a shell is left to /bin/sh.
type Command []string

// Set implements envconfig.Setter.
func (c *Command) Set(text string) error {
	words := strings.Fields(text)
	if len(words) == 0 {
		return errors.New("the command is empty")
	}
	if strings.ContainsAny(text, "\"'\\$`|&;<>()*?[]{}~#!=") {
		words = []string{"/bin/sh", "-c", text}
	}
	*c = words
	return nil
}

// Probe is a way to see from outside that a generation is ready. The zero value is none.
type Probe struct {
	Text    string
	Address unix.Sockaddr // to connect to, nil for a command
	Command Command

	port int    // the TCP port that is probed, or zero
	url  string // where it connects to, or empty
}

// Set implements envconfig.Setter.
func (p *Probe) Set(text string) error {
	kind, rest, _ := strings.Cut(text, ":")
	*p = Probe{Text: text}
	switch kind {
	case "exec":
		return p.Command.Set(rest)
	case "unix", "tcp":
		if kind == "tcp" && !strings.Contains(rest, ":") {
			rest = "127.0.0.1:" + rest
		}
		to, err := listen.Parse(kind + "://" + rest)
		if err != nil {
			return err
		}
		p.Address, p.port, p.url = to.Sockaddr(), to.TCPPort(), to.URL
		return nil
	}
	return fmt.Errorf("%q is none of tcp:PORT, tcp:ADDRESS:PORT, unix:PATH, exec:COMMAND", text)
}

// Given reports whether there is a probe.
func (p *Probe) Given() bool { return p.Address != nil || len(p.Command) > 0 }
