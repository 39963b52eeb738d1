'use strict';
const { execFile } = require('node:child_process');
const http = require('node:http');
const net = require('node:net');

let draining = false;

const server = http.createServer((req, res) => {
  const answer = () => {
    // Decided now and not when the request came: a slow one is the last on its connection too.
    if (draining) res.setHeader('Connection', 'close');
    res.end(`pid ${process.pid}\n`);
  };
  if (req.url === '/slow') setTimeout(answer, 4000);
  else answer();
});

// Connections on which nothing happens end after so long, in a drain too.
server.keepAliveTimeout = 5000;

// The listener that graceinit holds: systemd's protocol passes sockets from fd 3 on.
if (process.env.LISTEN_PID === String(process.pid)) server.listen({ fd: 3 }, ready);
else server.listen(8080, ready);

// Node has no datagram sockets of the unix kind, so graceinit says READY=1 for us.
function ready() {
  if (!process.env.NOTIFY_SOCKET) return;
  execFile('/graceinit', ['notify', 'READY=1'], (err) => {
    if (err) console.error(`cannot say that we are ready: ${err.message}`);
  });
}

process.on('SIGTERM', () => {
  if (draining) return;
  draining = true;
  // http.Server.close() closes idle keep-alive connections too (from Node 19 on), without a warning, and a request that
  // is on its way at that moment is lost. net.Server.close() only stops listening. The process ends with the last
  // connection.
  net.Server.prototype.close.call(server, () => process.exit(0));
});
