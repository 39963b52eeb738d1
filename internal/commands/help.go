package commands

import (
	"fmt"
	"strings"
)

// Help is what --help prints.
func (c *Command) Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n%s.\n\n", c.Synopsis(), c.Summary)
	for _, o := range append(c.Options, Option{Long: "help", Short: "h", Help: "show this help"}) {
		b.WriteString("  ")
		if o.Short != "" {
			b.WriteString("-" + o.Short + ", ")
		}
		fmt.Fprintf(&b, "--%s %s\n        %s.\n", o.Long, o.Arg, o.Help)
	}
	return b.String() + "\n" + c.ExitCodes() + "\n"
}

// Synopsis is the one-line usage.
func (c *Command) Synopsis() string {
	s := "graceinit " + c.Name
	if len(c.Options) > 0 {
		s += " [options]"
	}
	if c.Operands != "" {
		s += " " + c.Operands
	}
	return s
}

// ExitCodes lists them with their meanings.
func (c *Command) ExitCodes() string {
	s := "Exit code: 0 done"
	for _, code := range c.Codes {
		s += fmt.Sprintf("; %d %s", code.Code, code.Meaning)
	}
	return s + "; 64 bad usage."
}
