"""Files, sockets and child processes."""
