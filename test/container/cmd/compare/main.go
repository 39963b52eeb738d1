// Command compare runs the servers under graceinit and under other inits and prints one table: what an upgrade in
// place does to the container.
//
//	go run ./cmd/compare [-inits graceinit,tini,dumb-init,catatonit] [-servers all] [-v]
//
// -inits by-hand -upgrades 20 is the control group: what a server loses there it loses by itself.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/graceinit/graceinit/test/container/harness"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	inits := flag.String("inits", "graceinit,tini,dumb-init,catatonit", "the `columns`; none is no init at all")
	servers := flag.String("servers", "all", "the `rows`, by name")
	binary := flag.String("graceinit", os.Getenv("GRACEINIT_BIN"), "graceinit's `binary` (default: make build)")
	jobs := flag.Int("j", max(2, runtime.NumCPU()), "containers at a time")
	upgrades := flag.Int("upgrades", 2, "`number` of upgrades")
	verbose := flag.Bool("v", false, "print every container's story and log")
	color := flag.String("color", "auto", "auto, always or never")
	flag.Parse()

	columns, rows, err := choose(*inits, *servers, *binary)
	if err != nil {
		return err
	}
	d, err := harness.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	tmp, err := os.MkdirTemp("", "graceinit-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	img, err := d.BuildImages(ctx, harness.Dir(), tmp, os.Stderr)
	if err != nil {
		return err
	}

	reports := map[string]*harness.Report{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, *jobs)
	for _, s := range rows {
		for _, in := range columns {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				rep := d.Run(ctx, img, harness.Case{Server: s, Init: in, Upgrades: *upgrades})
				mu.Lock()
				defer mu.Unlock()
				reports[s.Name+" "+in.Name] = rep
				fmt.Fprintf(os.Stderr, "%d of %d: %s under %s\n", len(reports), len(rows)*len(columns), s.Name, in.Name)
				if *verbose {
					fmt.Fprintf(os.Stderr, "%s\n", rep)
				}
			})
		}
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	printTable(columns, rows, reports, colored(*color))
	for _, k := range slices.Sorted(keys(reports)) {
		if rep := reports[k]; rep.Case.Init.Ours && len(rep.Problems()) > 0 {
			return fmt.Errorf("graceinit is not all green (%s)", k)
		}
	}
	return nil
}

func choose(inits, servers, binary string) (columns []harness.Init, rows []harness.Server, err error) {
	for n := range strings.SplitSeq(inits, ",") {
		if n == "graceinit" {
			if binary == "" {
				if binary, err = harness.BuildGraceinit(); err != nil {
					return nil, nil, err
				}
			}
			if binary, err = filepath.Abs(binary); err != nil {
				return nil, nil, err
			}
			if _, err := os.Stat(binary); err != nil {
				return nil, nil, err
			}
			columns = append(columns, harness.Graceinit(binary))
			continue
		}
		i := slices.IndexFunc(harness.Peers(), func(p harness.Init) bool { return p.Name == n })
		if i < 0 {
			return nil, nil, fmt.Errorf("unknown init %q", n)
		}
		columns = append(columns, harness.Peers()[i])
	}
	all := harness.Servers()
	if servers == "all" {
		return columns, all, nil
	}
	for n := range strings.SplitSeq(servers, ",") {
		i := slices.IndexFunc(all, func(s harness.Server) bool { return s.Name == n })
		if i < 0 {
			return nil, nil, fmt.Errorf("unknown server %q", n)
		}
		rows = append(rows, all[i])
	}
	return columns, rows, nil
}

func colored(mode string) bool {
	if mode != "auto" {
		return mode == "always"
	}
	st, err := os.Stdout.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && cmp.Or(os.Getenv("NO_COLOR"), "") == ""
}
