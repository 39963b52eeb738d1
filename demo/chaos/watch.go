package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"
)

// status is what the oracle reads of the init's (docs/control.md).
type status struct {
	State       string   `json:"state"`
	Mode        string   `json:"mode"`
	Generation  int      `json:"generation"`
	Ready       bool     `json:"ready"`
	Main        *process `json:"main"`
	Successor   *process `json:"successor"`
	Predecessor *process `json:"predecessor"`
	Upgrade     *struct {
		Step string `json:"step"`
	} `json:"upgrade"`
	Probation float64 `json:"probation"`
	Zombies   int     `json:"zombies"`
	Counters  struct {
		Upgrades map[string]int `json:"upgrades"`
		Reaped   int            `json:"reaped"`
	} `json:"counters"`
}

type process struct {
	PID        int `json:"pid"`
	Generation int `json:"generation"`
}

type line struct {
	Status   *status `json:"status"`
	Progress *struct {
		Step           string `json:"step"`
		FromGeneration int    `json:"from_generation"`
		ToGeneration   int    `json:"to_generation"`
		Reason         string `json:"reason"`
		Final          bool   `json:"final"`
	} `json:"progress"`
}

// watch follows `graceinit status --watch` as long as the episode lasts. What it knows may be a moment old, and while the
// control socket is flooded it knows nothing new: it tells what happened, and does not judge.
type watch struct {
	quit context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	last  status
	step  string      // of the upgrade in progress
	mains map[int]int // every main process, with its generation
}

func startWatch(e *episode) *watch {
	ctx, quit := context.WithCancel(context.Background())
	w := &watch{quit: quit, mains: map[int]int{}}
	w.wg.Go(func() {
		for ctx.Err() == nil && !e.gone() {
			_ = onThread(func() error {
				cmd := e.enter(ctx, e.kit.init, "status", "--watch", "--json")
				cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
				cmd.Stdout = &lineWriter{take: func(b []byte) { w.take(e, b) }}
				if err := join(e.ns.PID, "mnt", "pid"); err != nil {
					return err
				}
				return cmd.Run()
			})
			e.wait(50 * time.Millisecond)
		}
	})
	return w
}

func (w *watch) close() {
	w.quit()
	w.wg.Wait()
}

func (w *watch) take(e *episode, text []byte) {
	var l line
	if json.Unmarshal(text, &l) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.Status != nil {
		w.set(*l.Status)
	}
	if p := l.Progress; p != nil {
		w.step = p.Step
		if p.Final {
			w.step = ""
			e.log.add("upgrade from generation %d to %d: %s %s", p.FromGeneration, p.ToGeneration, p.Step, p.Reason)
		}
	}
}

func (w *watch) set(s status) {
	w.last = s
	if s.Main != nil {
		w.mains[s.Main.PID] = s.Main.Generation
	}
}

// see adds a status that was asked for.
func (w *watch) see(s status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(s)
}

func (w *watch) status() status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// main is the pid of the main process, as far as is known.
func (w *watch) main() int {
	if s := w.status(); s.Main != nil {
		return s.Main.PID
	}
	return 0
}

// phase names the step of the upgrade in progress.
func (w *watch) phase() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.step == "" {
		return "no upgrade"
	}
	return w.step
}

// wasMain tells of a process whether it was the main process, and whether another has followed it.
func (w *watch) wasMain(pid int) (was, followed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	generation, was := w.mains[pid]
	return was, was && w.last.Generation > generation
}

// lineWriter hands on whole lines.
type lineWriter struct {
	buf  []byte
	take func([]byte)
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	for {
		advance, text, _ := bufio.ScanLines(l.buf, false)
		if advance == 0 {
			return len(b), nil
		}
		l.take(bytes.Clone(text))
		l.buf = l.buf[advance:]
	}
}
