# Made by scripts/gendocs from the settings table. Do not edit: run `make docs`.

_graceinit() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev= i flag=
	COMPREPLY=()
	if ((COMP_CWORD > 1)); then
		case ${COMP_WORDS[1]} in
		upgrade | rollback | status | stop | metrics | deliver | install | notify | kill)
			_graceinit_subcommand
			return
			;;
		esac
	fi
	# Find the command: behind "--", or the first word that is neither a flag nor a flag's argument. Bash splits
	# --flag=value into three words.
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			_graceinit_command $((i + 1))
			return
			;;
		--upgrade | --upgrade-signal | --predecessor-signal | --pid-file | --listen | --dialect | --user | --check | --ready | --probation | --watchdog | --fd-store-max | --notify | --control | --verify-key | --shutdown-signal | --stop-signal | --drain-delay | --grace-period | --stop-timeout | --drain-timeout | --kill-timeout | --ready-timeout | --settle | --rewrite | -r | --remap-exit | -e | --parent-death-signal | -p | --log-format | --log-level | --termination-log)
			flag=${COMP_WORDS[i]}
			[[ ${COMP_WORDS[i + 1]} == = ]] && ((i + 1 < COMP_CWORD)) && ((i++))
			if ((i + 1 >= COMP_CWORD)); then
				prev=$flag
			fi
			((i++))
			;;
		-*) ;;
		*)
			_graceinit_command "$i"
			return
			;;
		esac
	done
	[[ $cur == = ]] && cur=
	case $prev in
	--upgrade) COMPREPLY=($(compgen -W 'auto spawn forward off' -- "$cur")) ;;
	--upgrade-signal) COMPREPLY=($(compgen -W 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -- "$cur")) ;;
	--predecessor-signal) COMPREPLY=($(compgen -W 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -- "$cur")) ;;
	--pid-file) COMPREPLY=($(compgen -f -- "$cur")) ;;
	--shutdown-signal) COMPREPLY=($(compgen -W 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -- "$cur")) ;;
	--stop-signal) COMPREPLY=($(compgen -W 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -- "$cur")) ;;
	--parent-death-signal | -p) COMPREPLY=($(compgen -W 'HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -- "$cur")) ;;
	--log-format) COMPREPLY=($(compgen -W 'text json' -- "$cur")) ;;
	--log-level) COMPREPLY=($(compgen -W 'error warn info debug' -- "$cur")) ;;
	--termination-log) COMPREPLY=($(compgen -f -- "$cur")) ;;
	'')
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--upgrade --upgrade-signal --predecessor-signal --pid-file --reparent --listen --dialect --user --check --ready --stop-first --probation --watchdog --fd-store-max --notify --control --verify-key --shutdown-signal --stop-signal --drain-delay --grace-period --stop-timeout --drain-timeout --kill-timeout --ready-timeout --settle --rewrite -r --group -g --single-child -c --remap-exit -e --parent-death-signal -p --subreaper -s --pause -P --log-format --log-level --verbose -v --warn-on-reap -w --termination-log --help -h --version -V --license -l' -- "$cur"))
		else
			_graceinit_command "$COMP_CWORD"
			((COMP_CWORD > 1)) || COMPREPLY+=($(compgen -W 'upgrade rollback status stop metrics deliver install notify kill' -- "$cur"))
		fi
		;;
	esac
}

_graceinit_subcommand() {
	[[ $cur == = ]] && cur=
	prev=${COMP_WORDS[COMP_CWORD - 1]}
	[[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}
	case ${COMP_WORDS[1]}:$prev in
	upgrade:--binary) COMPREPLY=($(compgen -f -- "$cur")) ;;
	upgrade:--sha256) return ;;
	upgrade:--signature) COMPREPLY=($(compgen -f -- "$cur")) ;;
	upgrade:--control) COMPREPLY=($(compgen -f -- "$cur")) ;;
	upgrade:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--binary --sha256 --signature --no-wait --json --control --help' -- "$cur"))
		fi
		;;
	rollback:--control) COMPREPLY=($(compgen -f -- "$cur")) ;;
	rollback:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--no-wait --json --control --help' -- "$cur"))
		fi
		;;
	status:--control) COMPREPLY=($(compgen -f -- "$cur")) ;;
	status:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--ready --digest --watch --json --control --help' -- "$cur"))
		fi
		;;
	stop:--control) COMPREPLY=($(compgen -f -- "$cur")) ;;
	stop:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--control --help' -- "$cur"))
		fi
		;;
	metrics:--control) COMPREPLY=($(compgen -f -- "$cur")) ;;
	metrics:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--control --help' -- "$cur"))
		fi
		;;
	deliver:--sha256) return ;;
	deliver:--signature) COMPREPLY=($(compgen -f -- "$cur")) ;;
	deliver:--control) COMPREPLY=($(compgen -f -- "$cur")) ;;
	deliver:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--if-absent --once --sha256 --signature --control --help' -- "$cur"))
		fi
		;;
	install:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--help' -- "$cur"))
		else
			COMPREPLY=($(compgen -d -- "$cur"))
		fi
		;;
	notify:--timeout) return ;;
	notify:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--timeout --help' -- "$cur"))
		fi
		;;
	kill:--signal | kill:-s) COMPREPLY=($(compgen -W 'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS' -- "$cur")) ;;
	kill:*)
		if [[ $cur == -* ]]; then
			COMPREPLY=($(compgen -W '--signal --help' -- "$cur"))
		fi
		;;
	esac
}

# The command's own completion, if there is one to call.
_graceinit_command() {
	if declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif ((COMP_CWORD == $1)); then
		COMPREPLY=($(compgen -c -- "$cur"))
	else
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}

complete -F _graceinit -o filenames graceinit
