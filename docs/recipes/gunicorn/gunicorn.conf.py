# No "bind": the listeners come from graceinit (LISTEN_FDS).
workers = 2
worker_class = "gthread"
threads = 24

# An app that cannot be imported then fails before gunicorn says READY=1, and the upgrade with it.
preload_app = True

# gthread workers that are told to stop leave requests on kept connections unread until they exit. Without keep-alive
# every response announces the connection's end.
keepalive = 0

# How long a worker may finish its requests. Below graceinit's --drain-timeout (60 s) and --stop-timeout (25 s).
graceful_timeout = 20

# The workers' heartbeat files need no disk.
worker_tmp_dir = "/dev/shm"
