package lifecycle

import "fmt"

// State is where a life is. Every transition there is stands in the table below; the diagram in
// docs/states.md is made from it, and the simulation checks that the machine makes these and no others.
type State uint8

const (
	Starting   State = iota // the main process of generation 1 is being started
	Running                 // the main process serves
	Awaiting                // the upgrade signal was forwarded; no successor was seen yet
	Preparing               // spawn: the executable is found and checked; nothing was started yet
	Settling                // a successor lives but is not ready
	Retiring                // the successor is ready; the predecessor has not begun to drain
	Draining                // the predecessor, or the rest of its generation, finishes its work
	Restarting              // spawn: the main process has gone, and another is being started in its place
	Delaying                // shutdown: the drain delay runs, nobody was told yet
	Stopping                // shutdown: the stop signal was sent
	Killing                 // shutdown: SIGKILL was sent
	Sweeping                // the main process has gone; what is left is asked, then made to end
	Exited                  // the exit code is handed out
	stateCount = int(Exited) + 1
)

var stateNames = [...]string{"starting", "running", "awaiting", "preparing", "settling", "retiring", "draining",
	"restarting", "delaying", "stopping", "killing", "sweeping", "exited"}

func (s State) String() string { return stateNames[s] }

// Meaning describes the state in a sentence, for the documentation.
func (s State) Meaning() string {
	return [...]string{
		"the main process of generation 1 is being started",
		"the main process serves",
		"the upgrade signal was forwarded; no successor was seen yet",
		"spawn: the executable is found and checked; nothing was started yet",
		"a successor lives but is not ready",
		"the successor is ready; the predecessor has not begun to drain",
		"the predecessor, or the rest of its generation, finishes its work",
		"spawn: the main process has gone, and another is being started in its place: in a rollback, or with --stop-first",
		"shutdown: the drain delay runs, nobody was told yet",
		"shutdown: the stop signal was sent",
		"shutdown: SIGKILL was sent",
		"the main process has gone; what is left is asked to end, then made to",
		"the exit code is handed out",
	}[s]
}

// Transition is a change of state and what causes it.
type Transition struct {
	From, To State
	Cause    string
}

// Transitions are all there are.
var Transitions = []Transition{
	{Starting, Running, "started"},
	{Starting, Exited, "cannot be executed"},

	{Running, Awaiting, "upgrade signal"},
	{Awaiting, Settling, "successor seen"},
	{Awaiting, Draining, "main process dropped its listeners, or exited and left a successor"},
	{Awaiting, Running, "refused, failed, in place, or taken over at once"},
	{Settling, Retiring, "READY=1 or settle time"},
	{Settling, Draining, "predecessor dropped its listeners, or exited"},
	{Settling, Running, "successor died, was not ready in time, or took over at once"},
	{Retiring, Draining, "predecessor dropped its listeners, was told to stop, or exited"},
	{Retiring, Running, "successor died, predecessor stays, or went at once"},
	{Draining, Awaiting, "predecessor listens again, no successor"},
	{Draining, Retiring, "predecessor listens again"},
	{Draining, Running, "the predecessor's generation has gone"},

	{Running, Preparing, "spawn: upgrade triggered"},
	{Preparing, Settling, "successor started"},
	{Preparing, Draining, "--stop-first: predecessor was told to stop"},
	{Preparing, Running, "refused, or the successor cannot be started"},
	{Preparing, Sweeping, "main process exited"},
	{Preparing, Delaying, "shutdown signal, drain delay"},
	{Preparing, Stopping, "shutdown signal"},
	{Draining, Restarting, "--stop-first: predecessor exited; or successor died in probation"},
	{Running, Restarting, "successor died in probation"},
	{Settling, Restarting, "--stop-first: successor died"},
	{Restarting, Settling, "--stop-first: successor started"},
	{Restarting, Running, "rolled back"},
	{Restarting, Draining, "rolled back, while the predecessor still drains"},
	{Restarting, Sweeping, "cannot be started, or shutdown signal"},

	{Running, Starting, "daemonised: its pid file names the main process"},
	{Starting, Sweeping, "nothing is left to run, or shutdown signal"},

	{Running, Delaying, "shutdown signal, drain delay"},
	{Running, Stopping, "shutdown signal"},
	{Awaiting, Delaying, "shutdown signal, drain delay"},
	{Awaiting, Stopping, "shutdown signal"},
	{Settling, Delaying, "shutdown signal, drain delay"},
	{Settling, Stopping, "shutdown signal"},
	{Retiring, Delaying, "shutdown signal, drain delay"},
	{Retiring, Stopping, "shutdown signal"},
	{Draining, Delaying, "shutdown signal, drain delay"},
	{Draining, Stopping, "shutdown signal"},
	{Delaying, Stopping, "drain delay over, or a second shutdown signal"},
	{Stopping, Killing, "stop timeout"},

	{Running, Sweeping, "main process exited"},
	{Awaiting, Sweeping, "main process exited without a successor"},
	{Settling, Sweeping, "main process and successor exited"},
	{Retiring, Sweeping, "main process and successor exited"},
	{Draining, Sweeping, "main process exited"},
	{Delaying, Sweeping, "main process exited"},
	{Stopping, Sweeping, "main process exited"},
	{Killing, Sweeping, "main process exited, or kill timeout"},
	{Sweeping, Exited, "nothing is left, or kill timeout"},
}

var legal = func() (table [stateCount][stateCount]bool) {
	for _, t := range Transitions {
		table[t.From][t.To] = true
	}
	return table
}()

// Mermaid draws the table as a state diagram.
func Mermaid() string {
	text := "stateDiagram-v2\n    [*] --> starting\n"
	for _, t := range Transitions {
		text += fmt.Sprintf("    %s --> %s: %s\n", t.From, t.To, t.Cause)
	}
	return text + "    exited --> [*]\n"
}
