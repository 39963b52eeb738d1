package main

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/signals"
)

// killCommand sends a signal. The table's parser has read -s SIG; what kill(1) has besides, a signal as an option
// of its own and negative pids, reaches it as operands (see killArgs).
func killCommand(a *commands.Args) int {
	sig := signals.Signal(syscall.SIGTERM)
	if text := a.Value("signal"); text != "" {
		var err error
		if sig, err = signals.Parse(text); err != nil && text != "0" { // 0: only look whether it is there
			return usageError(a.Command, err)
		}
	}
	code := 0
	for _, operand := range a.Operands {
		pid, err := strconv.Atoi(operand)
		if err != nil {
			return usageError(a.Command, fmt.Errorf("%q is not a pid", operand))
		}
		if err := syscall.Kill(pid, syscall.Signal(sig)); err != nil {
			complain(a.Command, fmt.Errorf("cannot signal %d: %w", pid, err))
			code = codeError
		}
	}
	return code
}

// killArgs turns what kill(1) takes into what Parse does: -SIG into -s SIG, and a pid behind it may be negative.
func killArgs(args []string) []string {
	if len(args) == 0 || len(args[0]) < 2 || args[0][0] != '-' {
		return args
	}
	if name := args[0][1:]; name != "s" {
		if _, err := signals.Parse(name); err != nil && name != "0" {
			return args
		}
		args = append([]string{"-s", name}, args[1:]...)
	}
	if len(args) > 2 && args[2] != "--" {
		args = append([]string{"-s", args[1], "--"}, args[2:]...)
	}
	return args
}
