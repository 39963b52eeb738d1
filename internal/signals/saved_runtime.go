//go:build inherited_signals

package signals

import _ "unsafe" // for go:linkname

// The runtime's copies of what it found before it installed its own handlers (runtime/signal_unix.go
// initsig, runtime/proc.go schedinit). The linker refuses these names unless told otherwise
// (-checklinkname=0), which is why they live behind a build tag; a test of the built binary notices if they change.

//go:linkname runtimeFwdSig runtime.fwdSig
var runtimeFwdSig [Last + 1]uintptr

//go:linkname runtimeInitSigmask runtime.initSigmask
var runtimeInitSigmask [2]uint32

func runtimeSaved() (Inherited, bool) {
	in := Inherited{Mask: Set(runtimeInitSigmask[0]) | Set(runtimeInitSigmask[1])<<32}
	for i := Signal(1); i <= Last; i++ {
		if runtimeFwdSig[i] == sigIgn {
			in.Ignored.Add(i)
		}
	}
	return in, true
}
