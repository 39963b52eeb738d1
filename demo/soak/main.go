// Command soak repeats what an init does for months: upgrades by the thousand under load, orphans and children by
// the ten thousand. It needs no container engine. It exits with 1 if anything was lost, left behind, or grew.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/graceinit/graceinit/demo/churn"
	"github.com/graceinit/graceinit/demo/gracedemo"
	"github.com/graceinit/graceinit/demo/pidns"
)

type options struct {
	init              string
	upgrades          int
	orphans, children int
	rates             gracedemo.Rates
	growth            int64
	verbose           bool
}

func main() {
	pidns.Main()
	churn.Main()
	var o options
	flag.StringVar(&o.init, "init", "", "the init (default bin/graceinit of this repository)")
	flag.IntVar(&o.upgrades, "n", 1000, "upgrades in a row")
	flag.IntVar(&o.orphans, "orphans", 100_000, "orphans to reap")
	flag.IntVar(&o.children, "children", 50_000, "children of the app that must lose no status")
	flag.IntVar(&o.rates.KeepAlive, "keep-alive", 300, "requests a second over kept connections")
	flag.IntVar(&o.rates.Fresh, "fresh", 100, "requests a second over a connection each")
	flag.IntVar(&o.rates.InFlight, "in-flight", 16, "slow requests in flight")
	flag.DurationVar(&o.rates.Slow, "slow", 500*time.Millisecond, "how long a slow request takes")
	flag.Int64Var(&o.growth, "growth", 512, "kB by which the init's memory may grow")
	flag.BoolVar(&o.verbose, "v", false, "show the init's log")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "soak: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("soak: all good")
}

func run(ctx context.Context, o options) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	root, err := gracedemo.Root(dir)
	if err != nil {
		return err
	}
	if o.init == "" {
		o.init = filepath.Join(root, "bin", "graceinit")
	}
	if o.orphans > 0 {
		if err := soakOrphans(ctx, o); err != nil {
			return fmt.Errorf("orphans: %w", err)
		}
	}
	if o.children > 0 {
		if err := soakChildren(ctx, o); err != nil {
			return fmt.Errorf("children: %w", err)
		}
	}
	if o.upgrades > 0 {
		if err := soakUpgrades(ctx, root, o); err != nil {
			return fmt.Errorf("upgrades: %w", err)
		}
	}
	return nil
}

// poll looks for a condition until it holds, the namespace has ended, or the time is over.
func poll(ctx context.Context, ns *pidns.Namespace, within time.Duration, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		ok, err := holds()
		if ok {
			return nil
		}
		select {
		case <-ns.Done():
			return fmt.Errorf("the init ended (%s) while waiting for %s", status(ns.Wait()), what)
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("waiting for %s: %w", what, err)
			}
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-again.C:
		}
	}
}

func status(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + s.Signal().String()
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}
