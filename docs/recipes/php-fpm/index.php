<?php
if ($_SERVER['DOCUMENT_URI'] === '/slow') {
    // A signal, also SIGQUIT to a child that is to finish this request, ends a sleep early.
    for ($end = microtime(true) + 4; ($left = $end - microtime(true)) > 0;) {
        usleep((int) ($left * 1e6) + 1);
    }
}
header('Content-Type: text/plain');
echo 'pid ', getmypid(), "\n";
