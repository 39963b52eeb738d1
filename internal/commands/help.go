package commands

import (
	"fmt"
	"strings"
)

// Help is what --help prints.
func (c *Command) Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n%s\n", c.Synopsis(), Indent(c.Summary+".", ""))
	for _, o := range append(c.Options, Option{Long: "help", Short: "h", Help: "show this help"}) {
		names := "--" + o.Long
		if o.Short != "" {
			names = "-" + o.Short + ", " + names
		}
		if o.Arg != "" {
			names += " " + o.Arg
		}
		fmt.Fprintf(&b, "  %s\n%s", names, Indent(o.Help+".", "        "))
	}
	return b.String() + "\n" + Indent(c.ExitCodes(), "")
}

// Indent wraps text as every help has it, each line behind the margin.
func Indent(text, margin string) string {
	const width = 92
	var b strings.Builder
	line := margin
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width && line != margin {
			b.WriteString(line + "\n")
			line = margin
		}
		if line != margin {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
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
