require 'puma/plugin'
require 'socket'

# The address that graceinit listens on, in the same words: puma then takes the listener that was passed (LISTEN_FDS).
bind 'tcp://0.0.0.0:8080'
threads 24, 24
environment 'production'

# Exit with 0 on SIGTERM.
raise_exception_on_sigterm false

# puma's own integration takes NOTIFY_SOCKET for a path, and ends with an error where it is an abstract socket, as
# graceinit's is (the @ stands for a zero byte, sd_notify(3)). So it does not get to see it.
NOTIFY_SOCKET = ENV.delete('NOTIFY_SOCKET')

Puma::Plugins.register('notify', Class.new(Puma::Plugin) do
  def start(launcher)
    launcher.events.on_booted do
      to = Socket.pack_sockaddr_un(NOTIFY_SOCKET.sub(/\A@/, "\0"))
      Socket.new(:UNIX, :DGRAM).tap { |s| s.send('READY=1', 0, to) }.close
    end
  end
end)
plugin 'notify' if NOTIFY_SOCKET
