// Command probe is the app where none that serves is needed.
//
//	probe exit N       exits with N
//	probe die N        dies of signal N
//	probe orphans N    leaves N orphans behind
//	probe signals      says which signals it gets; exits with 3 after SIGTERM
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	n := 0
	if len(os.Args) > 2 {
		var err error
		if n, err = strconv.Atoi(os.Args[2]); err != nil {
			fail(err)
		}
	}
	switch os.Args[1] {
	case "exit":
		fmt.Println("parent", os.Getppid())
		os.Exit(n)
	case "die":
		s := syscall.Signal(n)
		signal.Reset(s)
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			fail(err)
		}
		select {}
	case "orphans":
		for range n {
			if _, err := syscall.ForkExec("/proc/self/exe", []string{"probe", "exit", "0"}, nil); err != nil {
				fail(err)
			}
		}
	case "signals":
		signals()
	}
}

func signals() {
	c := make(chan os.Signal, 64)
	signal.Notify(c)
	fmt.Println("listens")
	for s := range c {
		if s == syscall.SIGURG || s == syscall.SIGCHLD { // the runtime's own
			continue
		}
		fmt.Println("got", s)
		if s == syscall.SIGTERM {
			os.Exit(3)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "probe:", err)
	os.Exit(99)
}
