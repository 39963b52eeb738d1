//go:build inherited_signals

package main

import _ "unsafe" // for go:linkname

// forceGCPeriod is how often, in nanoseconds, the runtime collects garbage although nothing was allocated
// (runtime/proc.go, sysmon). That would wake an idle init once a minute for nothing. Like the names in
// internal/signals it can be reached only in builds that relax the linker.
//
//go:linkname forceGCPeriod runtime.forcegcperiod
var forceGCPeriod int64

func init() { forceGCPeriod = 1 << 62 }
