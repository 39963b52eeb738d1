#!/bin/bash
# Ends with 0 if the generation that graceinit asks about, GRACEINIT_PID, answers on the admin port and is live. Before it
# has taken that port over, the predecessor answers there: hence the epoch.
epoch=$(tr '\0' '\n' <"/proc/$GRACEINIT_PID/environ" | sed -n 's/^RESTART_EPOCH=//p')
{ exec 3<>/dev/tcp/127.0.0.1/9901; } 2>/dev/null || exit 1 # nobody answers
printf 'GET /server_info HTTP/1.0\r\n\r\n' >&3
info=$(cat <&3)
[[ $info =~ \"state\":\ *\"LIVE\" ]] && [[ $info =~ \"restart_epoch\":\ *([0-9]+) ]] && [ "${BASH_REMATCH[1]}" = "$epoch" ]
