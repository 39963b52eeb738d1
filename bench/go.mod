// The measurements beside the peers. A module of its own, because it needs the tools of the demonstration.
//
// `go mod tidy` needs -e here: tests of facebookgo/grace and tableflip import packages that these versions do not resolve.
module github.com/graceinit/graceinit/bench

go 1.26.0

require (
	github.com/cloudflare/tableflip v1.2.3
	github.com/facebookgo/grace v0.0.0-20180706040059-75cf19382434
	github.com/graceinit/graceinit v0.0.0
	github.com/graceinit/graceinit/demo v0.0.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/facebookgo/clock v0.0.0-20150410010913-600d898af40a // indirect
	github.com/facebookgo/httpdown v0.0.0-20180706035922-5979d39b15c2 // indirect
	github.com/facebookgo/stats v0.0.0-20151006221625-1b76add642e4 // indirect
)

replace (
	github.com/graceinit/graceinit => ../
	github.com/graceinit/graceinit/demo => ../demo
	github.com/graceinit/graceinit/test/container => ../test/container
)
