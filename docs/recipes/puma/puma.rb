require 'puma/plugin'
require 'socket'

# The address that graceinit listens on, in the same words: puma then takes the listener that was passed (LISTEN_FDS).
bind 'tcp://0.0.0.0:8080'
threads 24, 24
environment 'production'

# Exit with 0 on SIGTERM.
raise_exception_on_sigterm false
