// The demonstration and the soak test. A module of its own, because what it needs (the grace demo, a plotting
// library) has no place beside an init.
//
// `go mod tidy` needs -e here: tests of facebookgo/grace import packages that these versions do not resolve.
module github.com/graceinit/graceinit/demo

go 1.26.0

// gracedemo is built from here, unmodified.
tool github.com/facebookgo/grace/gracedemo

require (
	github.com/graceinit/graceinit/test/container v0.0.0
	golang.org/x/sys v0.49.0
	gonum.org/v1/plot v0.17.0
)

require (
	codeberg.org/go-fonts/liberation v0.5.0 // indirect
	codeberg.org/go-latex/latex v0.2.0 // indirect
	codeberg.org/go-pdf/fpdf v0.11.1 // indirect
	git.sr.ht/~sbinet/gg v0.7.0 // indirect
	github.com/ajstarks/svgo v0.0.0-20211024235047-1546f124cd8b // indirect
	github.com/facebookgo/clock v0.0.0-20150410010913-600d898af40a // indirect
	github.com/facebookgo/grace v0.0.0-20180706040059-75cf19382434 // indirect
	github.com/facebookgo/httpdown v0.0.0-20180706035922-5979d39b15c2 // indirect
	github.com/facebookgo/stats v0.0.0-20151006221625-1b76add642e4 // indirect
	github.com/golang/freetype v0.0.0-20170609003504-e2365dfdc4a0 // indirect
	golang.org/x/image v0.30.0 // indirect
	golang.org/x/text v0.28.0 // indirect
)

replace github.com/graceinit/graceinit/test/container => ../test/container
