// Package commands is the table of graceinit's subcommands. Their --help, the man page and the completions print
// it, and Parse reads arguments by it, so that none can disagree with another.
package commands

// Command is a subcommand.
type Command struct {
	Name     string
	Operands string // as in its synopsis
	Summary  string
	Options  []Option
	Codes    []Code // its exit codes besides 0 and 64, which all have
}

// Option of a command: --Long, or -Short where it has one.
type Option struct {
	Long, Short string
	Arg         string // what its argument is, or empty for a switch
	Help        string
}

// Code is an exit code and what it means.
type Code struct {
	Code    int
	Meaning string
}

// optControl is an option of every command that talks to the init.
var optControl = Option{Long: "control", Arg: "ADDRESS", Help: "the init's control socket, as its own --control says (default: GRACEINIT_CONTROL, or the one of this PID namespace)"}

var (
	optJSON   = Option{Long: "json", Help: "print the init's answer as it came, one JSON object a line"}
	optNoWait = Option{Long: "no-wait", Help: "end as soon as the init has begun"}

	codeNoInit  = Code{69, "no init answers, or it ended before it had answered"}
	upgradeEnds = []Code{
		{1, "refused, and nothing was touched"},
		{2, "failed: the predecessor serves on, or serves again"},
		{3, "done, but the predecessor had to be killed"},
		codeNoInit,
	}
)

// Table lists the commands in the order of the man page.
var Table = []Command{
	{
		Name:    "upgrade",
		Summary: "Upgrade the app, as the upgrade signal would, and wait for the end of that, the probation included; or run another binary in its place",
		Options: []Option{
			{Long: "binary", Arg: "FILE", Help: "run this executable, not the one at the app's path; - reads it from standard input. It goes into memory, so that no writable file system is needed"},
			{Long: "sha256", Arg: "HEX", Help: "refuse a binary that has another digest"},
			{Long: "signature", Arg: "FILE", Help: "the binary's minisign signature, for an init with --verify-key (default: the binary's name with .minisig, if there is such a file)"},
			optNoWait, optJSON, optControl,
		},
		Codes: upgradeEnds,
	},
	{
		Name:    "rollback",
		Summary: "Go back to the executable that ran before the last upgrade, and wait as upgrade does",
		Options: []Option{optNoWait, optJSON, optControl},
		Codes:   upgradeEnds,
	},
	{
		Name:    "status",
		Summary: "Show what the init knows of itself and the app",
		Options: []Option{
			{Long: "ready", Help: "only say, by the exit code too, whether the main process is ready"},
			{Long: "digest", Help: "add the SHA-256 of the executable that the main process runs"},
			{Long: "watch", Help: "go on showing it at every change, until ^C"},
			optJSON, optControl,
		},
		Codes: []Code{{1, "with --ready: not ready"}, codeNoInit},
	},
	{
		Name:    "stop",
		Summary: "Begin the shutdown, as the shutdown signal would",
		Options: []Option{optControl},
		Codes:   []Code{{1, "refused"}, codeNoInit},
	},
	{
		Name:    "metrics",
		Summary: "Print the status in the text format of Prometheus",
		Options: []Option{optControl},
		Codes:   []Code{{1, "the output cannot be written"}, codeNoInit},
	},
	{
		Name:     "deliver",
		Operands: "SOURCE TARGET [-- COMMAND]...",
		Summary: "Bring the app in another container, over a volume shared with it, the executable SOURCE: stage it beside TARGET, ask for the upgrade and, " +
			"once that has ended well, rename it to TARGET, so that a restart of the container starts it too. A SOURCE that is at TARGET already is not " +
			"delivered again. Then idle until SIGTERM, or be the init of COMMAND, also after a refusal, whose reason is in the log and the termination message; " +
			"nothing is tried twice. The last line of standard output is a JSON object that says how it went",
		Options: []Option{
			{Long: "if-absent", Help: "put SOURCE at TARGET if nothing is there, ask nobody, and end (for an init container)"},
			{Long: "once", Help: "do not idle, but end with the upgrade's exit code"},
			{Long: "sha256", Arg: "HEX", Help: "refuse a SOURCE that has another digest"},
			{Long: "signature", Arg: "FILE", Help: "SOURCE's minisign signature, for an init with --verify-key (default: its name with .minisig, if there is such a file)"},
			optControl,
		},
		Codes: append([]Code{{143, "ended by SIGTERM while it delivered"}}, upgradeEnds...),
	},
	{
		Name:     "install",
		Operands: "DIR",
		Summary:  "Copy this program into a directory, for instance from an init container into a volume, and print its SHA-256 and its path",
		Codes:    []Code{{1, "it cannot be copied, and nothing is left behind"}},
	},
	{
		Name:     "notify",
		Operands: "NAME=VALUE...",
		Summary:  "Tell the init something about the app, as sd_notify(3) does, and wait until it was heard",
		Options:  []Option{{Long: "timeout", Arg: "TIME", Help: "wait so long at most (default 5s)"}},
		Codes:    []Code{{1, "it cannot be sent, or was not heard in time"}, {69, "nobody to tell: NOTIFY_SOCKET is not set"}},
	},
	{
		Name:     "kill",
		Operands: "PID...",
		Summary:  "Send a signal, for images that have no kill; -TERM or -15 does for -s TERM, a negative pid is a process group",
		Options:  []Option{{Long: "signal", Short: "s", Arg: "SIG", Help: "the signal (default TERM)"}},
		Codes:    []Code{{1, "it cannot be sent"}},
	},
}

// Find returns the command of that very name, or nil.
func Find(name string) *Command {
	for i := range Table {
		if Table[i].Name == name {
			return &Table[i]
		}
	}
	return nil
}
