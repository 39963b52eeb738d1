package harness

import (
	"bytes"
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Process is a process of a container, seen from the host.
type Process struct {
	Host   int    // pid on the host
	PID    string // pid in the container, as the servers answer it
	Parent int    // host pid
	Start  uint64 // start time in ticks: with the pid, the process's identity
	Comm   string
	Zombie bool
}

// tree lists root and all its descendants, the oldest first. Zombies are in it: they keep their parent.
// A process that `docker exec` starts is not: its parent is outside.
func tree(root int) []Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]Process{}
	var top []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, ok := readStat(pid)
		if !ok {
			continue
		}
		if pid == root {
			top = append(top, p)
		} else {
			children[p.Parent] = append(children[p.Parent], p)
		}
	}
	out := top
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i].Host]...)
	}
	for i := range out {
		out[i].PID = innermost(out[i].Host)
	}
	// One that has gone while we looked has no pid any more.
	out = slices.DeleteFunc(out, func(p Process) bool { return p.PID == "" })
	// By age. The clock ticks in hundredths; of the same age the parent is first already. Pids would not do: they
	// wrap around.
	slices.SortStableFunc(out, func(a, b Process) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

func readStat(pid int) (Process, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, false
	}
	// The name may hold anything, also parentheses: fields count from the last one.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return Process{}, false
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return Process{}, false
	}
	parent, _ := strconv.Atoi(f[1])
	start, _ := strconv.ParseUint(f[19], 10, 64)
	return Process{Host: pid, Parent: parent, Start: start, Comm: string(b[open+1 : end]), Zombie: f[0] == "Z"}, true
}

// innermost is the pid in the innermost namespace.
func innermost(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(v)
			return f[len(f)-1]
		}
	}
	return ""
}

// alive tells whether p is still the same process and not a zombie.
func (p Process) alive() bool {
	now, ok := readStat(p.Host)
	return ok && now.Start == p.Start && !now.Zombie
}

// present tells whether p is still there, if only as a zombie.
func (p Process) present() bool {
	now, ok := readStat(p.Host)
	return ok && now.Start == p.Start
}

func zombies(ps []Process) []Process {
	var out []Process
	for _, p := range ps {
		if p.Zombie {
			out = append(out, p)
		}
	}
	return out
}
