package gracedemo

import (
	"slices"
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// Window is an upgrade, on the clock of the load: from its signal to the first look at which the predecessor was gone.
type Window struct{ From, To time.Duration }

// Split tells the requests that failed from those that crossed the close of an idle connection.
//
// When it stops, gracedemo closes the kept connections that have no request at that moment, without a word before:
// httpdown and net/http's SetKeepAlivesEnabled do so. A request that is on its way just then gets no response. That is
// HTTP/1.1's own race (RFC 9112, section 9.3.1), which clients resolve by sending the request again on another
// connection, and no init can do anything about it: it happens in one upgrade in ten under any init at 300 requests a
// second, and in most of them on a busy machine. It is counted apart, and only where it cannot be anything else:
//   - the connection had carried requests before, and not a byte of this response came;
//   - the request was under way during an upgrade;
//   - no slow request failed in that upgrade. A process that is killed takes its slow requests along, and these, as
//     those on fresh connections, are never taken for a crossing.
func Split(failures []load.Failure, windows []Window) (failed, crossed []load.Failure) {
	var calm []Window
	for _, w := range windows {
		if !slices.ContainsFunc(failures, func(f load.Failure) bool { return f.Kind == load.Slow && during(f, w) }) {
			calm = append(calm, w)
		}
	}
	for _, f := range failures {
		if f.Kind == load.KeepAlive && f.Crossed && slices.ContainsFunc(calm, func(w Window) bool { return during(f, w) }) {
			crossed = append(crossed, f)
		} else {
			failed = append(failed, f)
		}
	}
	return failed, crossed
}

// during tells whether the request was under way in the window. A busy machine lets the client see the end of a
// connection late, so the moment of the failure alone says little.
func during(f load.Failure, w Window) bool { return f.At >= w.From && f.At-f.Waited < w.To }
