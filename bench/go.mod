// The measurements beside the peers. A module of its own, because it needs the tools of the demonstration.
module github.com/graceinit/graceinit/bench

go 1.26.0

require github.com/graceinit/graceinit/demo v0.0.0

require golang.org/x/sys v0.49.0 // indirect

replace (
	github.com/graceinit/graceinit/demo => ../demo
	github.com/graceinit/graceinit/test/container => ../test/container
)
