// The container tests: real servers, real Docker. A module of its own, because what the fixtures need has
// no place beside an init.
//
// `go mod tidy` needs -e here: tests of facebookgo/grace and tableflip import packages that these versions
// do not resolve.
module github.com/graceinit/graceinit/test/container

go 1.26

// gracedemo is built from here, unmodified.
tool github.com/facebookgo/grace/gracedemo

require github.com/cloudflare/tableflip v1.2.3

require (
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/facebookgo/clock v0.0.0-20150410010913-600d898af40a // indirect
	github.com/facebookgo/ensure v0.0.0-20200202191622-63f1cf65ac4c // indirect
	github.com/facebookgo/grace v0.0.0-20180706040059-75cf19382434 // indirect
	github.com/facebookgo/httpdown v0.0.0-20180706035922-5979d39b15c2 // indirect
	github.com/facebookgo/stack v0.0.0-20160209184415-751773369052 // indirect
	github.com/facebookgo/stats v0.0.0-20151006221625-1b76add642e4 // indirect
	github.com/facebookgo/subset v0.0.0-20200203212716-c811ad88dec4 // indirect
)
