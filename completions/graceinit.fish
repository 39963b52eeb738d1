# Made by scripts/gendocs from the settings table. Do not edit: run `make docs`.

# Prints the words of the command, the last of which is being completed; fails while there is no command yet.
function __graceinit_command
    set -l words (commandline -opc) (commandline -ct)
    set -l skip 1 # graceinit itself
    for i in (seq (count $words))
        if test $skip -gt 0
            set skip (math $skip - 1)
            continue
        end
        switch $words[$i]
            case --
                set i (math $i + 1)
                test $i -le (count $words); or return 1
                string join \n -- $words[$i..-1]
                return 0
            case --upgrade --upgrade-signal --predecessor-signal --pid-file --listen --dialect --user --check --ready --probation --watchdog --fd-store-max --notify --control --verify-key --shutdown-signal --stop-signal --drain-delay --grace-period --stop-timeout --drain-timeout --kill-timeout --ready-timeout --settle --rewrite -r --remap-exit -e --parent-death-signal -p --log-format --log-level --termination-log
                set skip 1
            case '-*'
            case '*'
                test $i -lt (count $words); or return 1
                string join \n -- $words[$i..-1]
                return 0
        end
    end
    return 1
end

# Whether the first word is that subcommand, or any.
function __graceinit_subcommand
    set -l words (commandline -opc)
    test (count $words) -gt 1; or return 1
    if set -q argv[1]
        test $words[2] = $argv[1]
    else
        contains -- $words[2] upgrade rollback status stop metrics deliver install notify kill
    end
end

# Whether there is neither a command yet nor a subcommand.
function __graceinit_flags
    not __graceinit_subcommand; and not __graceinit_command
end

complete -c graceinit -f
complete -c graceinit -n 'not __graceinit_subcommand; and __graceinit_command' -a '(complete -C (string join -- " " (string escape -- (__graceinit_command))))'
complete -c graceinit -n __graceinit_flags -a '(__fish_complete_command)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a upgrade -d 'Upgrade the app, as the upgrade signal would, and wait for the end of that, the probation included; or run another binary in its place'
complete -c graceinit -n '__graceinit_subcommand upgrade' -l binary -r -F -d 'run this executable, not the one at the app\'s path; - reads it from standard input. It goes into memory, so that no writable file system is needed'
complete -c graceinit -n '__graceinit_subcommand upgrade' -l sha256 -x -d 'refuse a binary that has another digest'
complete -c graceinit -n '__graceinit_subcommand upgrade' -l signature -r -F -d 'the binary\'s minisign signature, for an init with --verify-key (default: the binary\'s name with .minisig, if there is such a file)'
complete -c graceinit -n '__graceinit_subcommand upgrade' -l no-wait -d 'end as soon as the init has begun'
complete -c graceinit -n '__graceinit_subcommand upgrade' -l json -d 'print the init\'s answer as it came, one JSON object a line'
complete -c graceinit -n '__graceinit_subcommand upgrade' -l control -r -F -d 'the init\'s control socket, as its own --control says (default: GRACEINIT_CONTROL, or the one of this PID namespace)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a rollback -d 'Go back to the executable that ran before the last upgrade, and wait as upgrade does'
complete -c graceinit -n '__graceinit_subcommand rollback' -l no-wait -d 'end as soon as the init has begun'
complete -c graceinit -n '__graceinit_subcommand rollback' -l json -d 'print the init\'s answer as it came, one JSON object a line'
complete -c graceinit -n '__graceinit_subcommand rollback' -l control -r -F -d 'the init\'s control socket, as its own --control says (default: GRACEINIT_CONTROL, or the one of this PID namespace)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a status -d 'Show what the init knows of itself and the app'
complete -c graceinit -n '__graceinit_subcommand status' -l ready -d 'only say, by the exit code too, whether the main process is ready'
complete -c graceinit -n '__graceinit_subcommand status' -l digest -d 'add the SHA-256 of the executable that the main process runs'
complete -c graceinit -n '__graceinit_subcommand status' -l watch -d 'go on showing it at every change, until ^C'
complete -c graceinit -n '__graceinit_subcommand status' -l json -d 'print the init\'s answer as it came, one JSON object a line'
complete -c graceinit -n '__graceinit_subcommand status' -l control -r -F -d 'the init\'s control socket, as its own --control says (default: GRACEINIT_CONTROL, or the one of this PID namespace)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a stop -d 'Begin the shutdown, as the shutdown signal would'
complete -c graceinit -n '__graceinit_subcommand stop' -l control -r -F -d 'the init\'s control socket, as its own --control says (default: GRACEINIT_CONTROL, or the one of this PID namespace)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a metrics -d 'Print the status in the text format of Prometheus'
complete -c graceinit -n '__graceinit_subcommand metrics' -l control -r -F -d 'the init\'s control socket, as its own --control says (default: GRACEINIT_CONTROL, or the one of this PID namespace)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a deliver -d 'Bring the app in another container, over a volume shared with it, the executable SOURCE: stage it beside TARGET, ask for the upgrade and, once that has ended well, rename it to TARGET, so that a restart of the container starts it too. A SOURCE that is at TARGET already is not delivered again. Then idle until SIGTERM, or be the init of COMMAND, also after a refusal, whose reason is in the log and the termination message; nothing is tried twice. The last line of standard output is a JSON object that says how it went'
complete -c graceinit -n '__graceinit_subcommand deliver' -l if-absent -d 'put SOURCE at TARGET if nothing is there, ask nobody, and end (for an init container)'
complete -c graceinit -n '__graceinit_subcommand deliver' -l once -d 'do not idle, but end with the upgrade\'s exit code'
complete -c graceinit -n '__graceinit_subcommand deliver' -l sha256 -x -d 'refuse a SOURCE that has another digest'
complete -c graceinit -n '__graceinit_subcommand deliver' -l signature -r -F -d 'SOURCE\'s minisign signature, for an init with --verify-key (default: its name with .minisig, if there is such a file)'
complete -c graceinit -n '__graceinit_subcommand deliver' -l control -r -F -d 'the init\'s control socket, as its own --control says (default: GRACEINIT_CONTROL, or the one of this PID namespace)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a install -d 'Copy this program into a directory, for instance from an init container into a volume, and print its SHA-256 and its path'
complete -c graceinit -n '__graceinit_subcommand install' -a '(__fish_complete_directories)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a notify -d 'Tell the init something about the app, as sd_notify(3) does, and wait until it was heard'
complete -c graceinit -n '__graceinit_subcommand notify' -l timeout -x -d 'wait so long at most (default 5s)'
complete -c graceinit -n 'test (count (commandline -opc)) -eq 1' -a kill -d 'Send a signal, for images that have no kill; -TERM or -15 does for -s TERM, a negative pid is a process group'
complete -c graceinit -n '__graceinit_subcommand kill' -l signal -s s -x -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -d 'the signal (default TERM)'
complete -c graceinit -n __graceinit_flags -l upgrade -x -a 'auto spawn forward off' -d 'what the upgrade signal does: spawn (graceinit starts the successor), forward (the app upgrades itself), auto (spawn if graceinit holds a listener, else forward if the main process would survive the signal), off (a signal like any other)'
complete -c graceinit -n __graceinit_flags -l upgrade-signal -x -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -d 'the signal that triggers an upgrade'
complete -c graceinit -n __graceinit_flags -l predecessor-signal -x -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -d 'in an upgrade, sent once to the predecessor when the successor is ready (nginx: QUIT, gunicorn: TERM), or none, for an app that stops by itself (default: in mode spawn the stop signal, else none)'
complete -c graceinit -n __graceinit_flags -l pid-file -r -F -d 'the app\'s pid file; it names the main process of an app that daemonises, and the successor'
complete -c graceinit -n __graceinit_flags -l reparent -d 'start the app through an intermediate process that exits (nginx in the foreground needs it to upgrade)'
complete -c graceinit -n __graceinit_flags -l listen -x -d 'hold a listener and pass it to every generation (repeatable): tcp://:8080, tcp4, tcp6, udp, unix:///path, unix://@name, unixgram, unixpacket; options after commas: name=, backlog=, reuseport, v6only, mode=, owner='
complete -c graceinit -n __graceinit_flags -l dialect -x -d 'also tell the app of the listeners in this dialect (repeatable): server-starter, einhorn, nginx'
complete -c graceinit -n __graceinit_flags -l user -x -d 'run the app as USER[:GROUP], names or numbers; graceinit itself keeps its own user'
complete -c graceinit -n __graceinit_flags -l check -x -d 'run CMD before an upgrade and refuse the upgrade if it fails (nginx -t)'
complete -c graceinit -n __graceinit_flags -l ready -x -d 'how to see that a generation is ready: tcp:PORT, tcp:HOST:PORT, unix:PATH (somebody accepts connections there), exec:CMD (it exits with 0); READY=1 counts all the same'
complete -c graceinit -n __graceinit_flags -l stop-first -d 'in mode spawn, start the successor when the predecessor has gone; connections wait meanwhile (for apps of which only one may run)'
complete -c graceinit -n __graceinit_flags -l probation -x -d 'in mode spawn, how long after it was ready a successor\'s death brings the predecessor\'s executable back'
complete -c graceinit -n __graceinit_flags -l watchdog -x -d 'once it is ready, abort (SIGABRT) a main process that does not say WATCHDOG=1 at least so often'
complete -c graceinit -n __graceinit_flags -l fd-store-max -x -d 'in mode spawn, how many fds the app may store for later generations (FDSTORE=1)'
complete -c graceinit -n __graceinit_flags -l notify -x -d 'the notification socket: a path, @name, or off (default: below /dev/shm, else an abstract socket)'
complete -c graceinit -n __graceinit_flags -l control -x -d 'the control socket: a path, @name, or off (default: an abstract socket named after the PID namespace)'
complete -c graceinit -n __graceinit_flags -l verify-key -x -d 'a minisign public key, or the path of a file with one: binaries delivered by graceinit upgrade --binary must be signed with it'
complete -c graceinit -n __graceinit_flags -l shutdown-signal -x -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -d 'begins the shutdown (repeatable)'
complete -c graceinit -n __graceinit_flags -l stop-signal -x -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -d 'what the app is sent on shutdown (default: the signal received)'
complete -c graceinit -n __graceinit_flags -l drain-delay -x -d 'on shutdown, wait before the stop signal, while load balancers forget the endpoint'
complete -c graceinit -n __graceinit_flags -l grace-period -x -d 'how long after the shutdown signal we will be killed (Kubernetes: terminationGracePeriodSeconds less what a preStop hook takes); a warning tells when the shutdown does not fit'
complete -c graceinit -n __graceinit_flags -l stop-timeout -x -d 'on shutdown, from the stop signal to SIGKILL'
complete -c graceinit -n __graceinit_flags -l drain-timeout -x -d 'in an upgrade, from the start of the predecessor\'s drain to SIGKILL'
complete -c graceinit -n __graceinit_flags -l kill-timeout -x -d 'from SIGKILL to giving up'
complete -c graceinit -n __graceinit_flags -l ready-timeout -x -d 'the successor\'s time to be ready'
complete -c graceinit -n __graceinit_flags -l settle -x -d 'a successor that cannot say that it is ready counts as ready after so long'
complete -c graceinit -n __graceinit_flags -l rewrite -s r -x -d 'pass signal S on as R; 0 drops it (repeatable)'
complete -c graceinit -n __graceinit_flags -l group -s g -d 'signal the main process\'s whole group'
complete -c graceinit -n __graceinit_flags -l single-child -s c -d 'signal the main process only (dumb-init\'s option; our default)'
complete -c graceinit -n __graceinit_flags -l remap-exit -s e -x -d 'exit with 0 where the app exits with N (repeatable)'
complete -c graceinit -n __graceinit_flags -l parent-death-signal -s p -x -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -d 'have the kernel send us SIG when our parent dies'
complete -c graceinit -n __graceinit_flags -l subreaper -s s -d 'adopt orphans where we are not PID 1 (graceinit does so by itself)'
complete -c graceinit -n __graceinit_flags -l pause -s P -d 'run no command; reap until SIGINT or SIGTERM'
complete -c graceinit -n __graceinit_flags -l log-format -x -a 'text json' -d 'text or json'
complete -c graceinit -n __graceinit_flags -l log-level -x -a 'error warn info debug' -d 'error, warn, info or debug (default: info; error on a terminal)'
complete -c graceinit -n __graceinit_flags -l verbose -s v -d 'log more (repeatable)'
complete -c graceinit -n __graceinit_flags -l warn-on-reap -s w -d 'log every orphan that is reaped'
complete -c graceinit -n __graceinit_flags -l termination-log -r -F -d 'file for the cause of death, if it exists and can be written'
complete -c graceinit -n __graceinit_flags -l help -s h -d 'show this help'
complete -c graceinit -n __graceinit_flags -l version -s V -d 'show the version'
complete -c graceinit -n __graceinit_flags -l license -s l -d 'show the license'
