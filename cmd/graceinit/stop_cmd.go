package main

import (
	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/control"
)

// stopCommand begins the shutdown. It does not wait for the end: that ends whoever would wait, too.
func stopCommand(a *commands.Args) int {
	_, code := askOnce(a, control.Ask{Op: control.OpStop})
	return code
}
