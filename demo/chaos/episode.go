package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/demo/pidns"
	"github.com/graceinit/graceinit/test/container/load"
)

// episode is one life of the init.
type episode struct {
	kit  *kit
	plan Plan
	name string // unique among what runs on this machine

	dir     string   // the episode's files; small and logDisk, within it, are file systems of their own
	small   string   // only the container sees what is in it
	logDisk string   // likewise
	app     string   // the path of the executable
	port    int      // of the app
	more    [2]int   // ports that it also wants
	control string   // address of the control socket
	env     []string // of what is run in the container
	began   time.Time
	log     *journal

	ns      *pidns.Namespace
	group   *cgroup  // nil without cgroups
	procDir *os.File // the container's /proc, also where the container itself cannot see it
	said    *capture // what the init said on stderr
	watch   *watch
	load    *load.Run

	mu         sync.Mutex // guards what the shots of a storm write
	breaks     []span     // when the chaos had broken the app
	mend       []func()   // ends the breaks that last until the calm
	changes    []span     // when there were upgrades
	deaths     []death
	counts     map[string]int // injections, by fault
	hits       map[string]int // processes killed or stopped, by their role and the step of the upgrade
	violations []string

	procIsOurs sync.Mutex // one shot at a time hides /proc
	stormMain  int        // the main process when the storm began
	shots      []Shot     // the storm that began last
	hampered   bool       // something in the storm keeps processes from being started
	base, last figures
	peak       int64
	orphans    int
	ended      bool // it ended by a fault, before its time

	took, endTook                time.Duration
	requests, explained, crossed int
	outcome                      string
	upgrades                     map[string]int
	reaped                       int
}

// lives counts the episodes of this process.
var lives atomic.Int64

// live runs an episode from its plan.
func live(ctx context.Context, k *kit, plan Plan) *episode {
	e := &episode{kit: k, plan: plan, name: fmt.Sprintf("%d-%d", os.Getpid(), lives.Add(1)), began: time.Now(),
		counts: map[string]int{}, hits: map[string]int{}, upgrades: map[string]int{}, outcome: "not started"}
	e.log = &journal{began: e.began}
	e.log.add("%v", plan)
	defer func() { e.took = time.Since(e.began) }()
	if err := e.start(); err != nil {
		e.violate("cannot start: %v\n%s", err, e.said)
		e.clean()
		return e
	}
	defer e.clean()
	defer context.AfterFunc(ctx, e.ns.Kill)()
	e.run()
	return e
}

func (e *episode) run() {
	defer e.judge()
	if !e.calm("at the start") {
		return
	}
	var err error
	if e.load, err = load.Start(context.Background(), e.loadConfig()); err != nil {
		e.violate("cannot start the load: %v", err)
		return
	}
	if !e.calm("under load") || !e.succeed() {
		return
	}
	e.base = e.last
	for i, shots := range e.plan.Storms {
		e.storm(i+1, shots)
		if e.gone() {
			e.ended = true
			e.unasked()
			return
		}
		if !e.calm(fmt.Sprintf("after storm %d", i+1)) || !e.succeed() {
			return
		}
	}
	e.end()
}

func (e *episode) violate(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	e.violations = append(e.violations, text)
	e.log.add("VIOLATION %s", text)
}

// start makes the files and runs the init.
func (e *episode) start() error {
	var err error
	if e.dir, err = os.MkdirTemp("", "chaos-episode-"); err != nil {
		return err
	}
	e.small, e.logDisk, e.app = filepath.Join(e.dir, "small"), filepath.Join(e.dir, "log"), filepath.Join(e.dir, "app")
	if err := errors.Join(os.Chmod(e.dir, 0o755), os.Mkdir(e.small, 0o777), os.Mkdir(e.logDisk, 0o777)); err != nil {
		return err
	}
	for _, port := range []*int{&e.port, &e.more[0], &e.more[1]} {
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	if err := errors.Join(e.install(), e.configure()); err != nil {
		return err
	}
	s := stage{Small: e.small, LogDisk: e.logDisk, TerminationLog: e.terminationLog(), Stderr: e.plan.Stderr}
	if len(e.kit.groups) > 0 {
		if e.group, err = newCgroup(e.kit.groups, e.name); err != nil {
			return err
		}
		s.CGroups = e.group.dirs
	}
	config, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if e.said, err = newCapture(e.plan.Stderr); err != nil {
		return err
	}
	args := append([]string{e.kit.self, roleStage, string(config), e.kit.init}, e.command()...)
	e.log.add("starting %q", args[3:])
	e.ns, err = pidns.Start(pidns.Command{Args: args, Env: os.Environ(), Dir: e.dir, Stderr: e.said.w})
	e.said.started()
	if err != nil {
		return err
	}
	if e.procDir, err = os.Open(e.ns.Proc()); err != nil {
		return err
	}
	if e.control == "" {
		link, err := os.Readlink("/proc/" + strconv.Itoa(e.ns.PID) + "/ns/pid")
		if err != nil {
			return err
		}
		e.control = "@graceinit-" + strings.Trim(link, "pid:[]")
	}
	e.env = []string{"GRACEINIT_CONTROL=" + e.control}
	e.watch = startWatch(e)
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("%v is no TCP address", l.Addr())
	}
	return addr.Port, nil
}

// clean leaves nothing behind.
func (e *episode) clean() {
	if e.load != nil {
		e.load.Abort()
	}
	if e.ns != nil {
		e.ns.Kill()
	}
	if e.watch != nil {
		e.watch.close()
	}
	if e.procDir != nil {
		_ = e.procDir.Close()
	}
	if e.group != nil {
		e.group.close()
	}
	_ = os.RemoveAll(e.dir)
}

// gone reports whether the container has ended.
func (e *episode) gone() bool {
	select {
	case <-e.ns.Done():
		return true
	default:
		return false
	}
}

// wait lets time pass in which the chaos goes on; false when the container has ended.
func (e *episode) wait(d time.Duration) bool {
	select {
	case <-e.ns.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// until looks for a condition until it holds; false when it does not, or the container has ended.
func (e *episode) until(limit time.Duration, cond func() bool) bool {
	for deadline := time.Now().Add(limit); ; {
		if cond() {
			return true
		}
		if time.Now().After(deadline) || !e.wait(20*time.Millisecond) {
			return false
		}
	}
}

// storm lets the shots happen, and then mends what they have broken.
func (e *episode) storm(number int, shots []Shot) {
	e.log.add("storm %d", number)
	e.stormMain, e.hampered, e.shots = e.watch.main(), false, shots
	e.deaths = nil // what a storm before has caused is over: there was a calm
	begin, signals := e.now(), false
	before := e.watch.status().Counters.Upgrades["rolled back"]
	for _, s := range shots {
		e.hampered = e.hampered || faultNamed(s.Fault).hampers
		signals = signals || strings.HasPrefix(s.Fault, "signals")
	}
	var all sync.WaitGroup
	for _, s := range shots {
		all.Go(func() {
			if !e.wait(s.At) {
				return
			}
			f := faultNamed(s.Fault)
			e.log.add("%s", s.Fault)
			k := &strike{episode: e, Rand: rand.New(rand.NewPCG(s.Seed, 0)), name: s.Fault, length: s.For}
			k.count(0)
			if err := f.inject(k); err != nil && !e.gone() {
				e.log.add("%s: %v", s.Fault, err)
			}
		})
	}
	all.Wait()
	if err := e.install(); err != nil {
		e.violate("the harness cannot install the app: %v", err)
	}
	e.change(begin, e.now()+settled)
	if signals && (e.gone() || e.watch.status().Counters.Upgrades["rolled back"] > before) {
		e.breaks = append(e.breaks, span{from: begin, to: forever, why: "a signal met a generation that could not catch it yet"})
		if !e.gone() {
			e.breaks[len(e.breaks)-1].to = e.now()
		}
	}
	e.log.add("storm %d is over", number)
}

// journal is what happened in an episode.
type journal struct {
	mu    sync.Mutex
	began time.Time
	text  bytes.Buffer
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(&j.text, "%8.3f  %s\n", time.Since(j.began).Seconds(), fmt.Sprintf(format, args...))
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// capture keeps what the init says on stderr.
type capture struct {
	w, r *os.File
	kind string
	mu   sync.Mutex
	text []byte
	done chan struct{}
}

const captured = 1 << 20 // bytes kept, the last ones

func newCapture(kind string) (*capture, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if kind == stderrBlocked { // a few lines, and it is full
		if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
			return nil, fmt.Errorf("cannot make the pipe small: %w", err)
		}
	}
	return &capture{r: r, w: w, kind: kind, done: make(chan struct{})}, nil
}

// started gives up our own end of the pipe, once the init has it.
func (c *capture) started() {
	_ = c.w.Close()
	switch c.kind {
	case stderrGone:
		_ = c.r.Close()
		close(c.done)
	case stderrBlocked: // until the end
	default:
		go c.read()
	}
}

func (c *capture) read() {
	defer close(c.done)
	buf := make([]byte, 1<<16)
	for {
		n, err := c.r.Read(buf)
		c.mu.Lock()
		c.text = append(c.text, buf[:n]...)
		if over := len(c.text) - captured; over > 0 {
			c.text = append(c.text[:0], c.text[over:]...)
		}
		c.mu.Unlock()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintf(os.Stderr, "chaos: cannot read the log: %v\n", err)
			}
			_ = c.r.Close()
			return
		}
	}
}

// finish waits for the last words. The container has ended.
func (c *capture) finish() {
	if c.kind == stderrBlocked {
		go c.read()
	}
	<-c.done
}

func (c *capture) String() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}
