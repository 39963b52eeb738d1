require 'socket'

listen 8080, backlog: 1024
worker_processes 20 # each serves one request at a time

# An app that cannot be loaded ends the successor before a worker was forked.
preload_app true

# unicorn cannot say that it is ready. Without this graceinit would wait for --settle and then believe it.
after_worker_ready do |server, worker|
  if worker.nr.zero? && (path = ENV['NOTIFY_SOCKET'])
    to = Socket.pack_sockaddr_un(path.sub(/\A@/, "\0"))
    Socket.new(:UNIX, :DGRAM).tap { |s| s.send("READY=1", 0, to) }.close
  end
end
