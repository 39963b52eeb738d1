package gracedemo

import (
	"time"

	"github.com/graceinit/graceinit/test/container/load"
)

// Window is a time, on the clock of the load, from the signal for an upgrade to the last look at which the predecessor
// was still there.
type Window struct{ From, To time.Duration }

// Split tells the requests that failed from those that crossed the close of an idle connection.
//
// When it stops, gracedemo closes the kept connections that have no request at that moment, without a word before:
// httpdown and net/http's SetKeepAlivesEnabled do so. A request that is on its way just then gets no response. That is
// HTTP/1.1's own race (RFC 9112, section 9.3.1), which every client resolves by sending the request again on another
// connection, and no init can do anything about it; under any init about one upgrade in ten meets one at 300 requests
// a second. It is counted apart, and only where it cannot be anything else: the connection had been kept, not a byte
// of a response came, an upgrade was under way, and the predecessor was seen alive afterwards. What died with a
// process is a failure.
func Split(failures []load.Failure, windows []Window) (failed, crossed []load.Failure) {
	for _, f := range failures {
		if crossing(f, windows) {
			crossed = append(crossed, f)
		} else {
			failed = append(failed, f)
		}
	}
	return failed, crossed
}

func crossing(f load.Failure, windows []Window) bool {
	if f.Kind != load.KeepAlive || !f.Reused || f.Stage != "response" && f.Stage != "write" {
		return false
	}
	for _, w := range windows {
		if f.At >= w.From && f.At < w.To {
			return true
		}
	}
	return false
}
