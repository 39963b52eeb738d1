package lifecycle

import (
	"time"

	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/procfs"
	"github.com/graceinit/graceinit/upgrade"
)

// audience is who listens at the control socket. Nobody in it can make the loop wait.
type audience struct {
	asking    *control.Request // whose request is being decided
	followers []follower
	watchers  []*control.Request
}

// follower waits for the end of an upgrade.
type follower struct {
	request *control.Request
	upgrade int
}

// serve takes a request from the control socket.
func (l *Loop) serve(r *control.Request) {
	switch {
	case r.Refused != nil:
		l.audience.asking = r
		l.step(Asked{Op: r.Op, Refused: r.Refused.Error()})
	case r.Op == control.OpStatus:
		l.asked = time.Now()
		status := l.status()
		go func() { // the process table may be long
			defer r.Close()
			defer func() { _ = recover() }() // a mistake of ours ends the answer, not the init
			if table, err := procfs.Take(); err == nil {
				status.Zombies = table.Zombies()
			}
			r.Send(control.Line{Status: status})
		}()
	case r.Op == control.OpWatch:
		l.audience.watchers = append(l.audience.watchers, r)
		l.audience.show(l.status) // to all: that finds out who has gone, however long nothing happens
	default:
		var image *upgrade.Image
		if r.Binary >= 0 {
			image = upgrade.Delivered(r.Binary)
			fields := []Field{{"sha256", r.Digest}}
			if r.Signed != "" {
				fields = append(fields, Field{"signed", r.Signed})
			}
			l.write(Log{Info, "binary delivered", fields})
		}
		l.audience.asking = r
		l.step(Asked{Op: r.Op, Image: image})
		l.audience.refuse("the request could not be decided") // if it has not been
	}
}

// counted reports whether somebody wants to know how many connections are left: follows, or asks now and then.
func (l *Loop) counted() bool {
	const nowAndThen = time.Minute
	return len(l.audience.followers)+len(l.audience.watchers) > 0 || !l.asked.IsZero() && time.Since(l.asked) < nowAndThen
}

// status is what is known of the life.
func (l *Loop) status() *control.Status {
	s := l.machine.Status(time.Now())
	s.Version, s.Started = l.Version, l.began
	s.Counters.Reaped = l.reaped + l.watcher.Reaped()
	for _, h := range l.Listeners {
		s.Listeners = append(s.Listeners, control.Listener{Name: h.Name, URL: h.URL})
	}
	s.Store = l.effects.store.summary()
	return &s
}

// accept notes that the request is granted: with an upgrade that can be followed, or done.
func (a *audience) accept(upgrade int) {
	r := a.asking
	a.asking = nil
	if r == nil {
		return
	}
	if upgrade == 0 {
		r.Send(control.Line{OK: true})
		r.Close()
		return
	}
	a.followers = append(a.followers, follower{r, upgrade})
}

func (a *audience) refuse(reason string) {
	if r := a.asking; r != nil {
		a.asking = nil
		r.Send(control.Line{Error: &control.Error{Reason: reason, ExitCode: control.CodeRefused}})
		r.Close()
	}
}

// tell tells how far an upgrade is.
func (a *audience) tell(p *control.Progress) {
	kept := a.followers[:0]
	for _, f := range a.followers {
		if f.upgrade == p.Upgrade {
			f.request.Send(control.Line{Progress: p})
			if p.Final {
				f.request.Close()
				continue
			}
		}
		if !f.request.Gone() {
			kept = append(kept, f)
		}
	}
	a.followers = kept
	a.watched(control.Line{Progress: p})
}

// show shows watchers the status, which is made only if there are any.
func (a *audience) show(status func() *control.Status) {
	if len(a.watchers) > 0 {
		a.watched(control.Line{Status: status()})
	}
}

func (a *audience) watched(line control.Line) {
	kept := a.watchers[:0]
	for _, w := range a.watchers {
		if !w.Gone() {
			w.Send(line)
			kept = append(kept, w)
		}
	}
	a.watchers = kept
}

// dismiss ends all conversations.
func (a *audience) dismiss() {
	for _, f := range a.followers {
		f.request.Close()
	}
	for _, w := range a.watchers {
		w.Close()
	}
}
