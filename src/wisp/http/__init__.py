"""HTTP/1.1 for the sidecar: a state machine that owns no socket, and the epoll loop that owns them all."""
