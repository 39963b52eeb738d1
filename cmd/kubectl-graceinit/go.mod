// A kubectl plugin: upgrades in place over many pods. A module of its own, because a command line for people needs
// packages that have no place beside an init.
module github.com/graceinit/graceinit/cmd/kubectl-graceinit

go 1.26.0

replace github.com/graceinit/graceinit => ../..

require (
	github.com/graceinit/graceinit v0.0.0
	github.com/spf13/cobra v1.10.2
	golang.org/x/term v0.47.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
