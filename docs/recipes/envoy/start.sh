#!/bin/sh
# Envoy in the place of this shell. graceinit numbers the generations in RESTART_EPOCH, as hot-restarter.py does.
exec envoy -c /etc/envoy/envoy.yaml --restart-epoch "${RESTART_EPOCH:-0}" \
	--drain-time-s 20 --parent-shutdown-time-s 30
