run lambda { |env|
  sleep 4 if env['PATH_INFO'] == '/slow'
  [200, { 'Content-Type' => 'text/plain' }, ["pid #{Process.pid}\n"]]
}
