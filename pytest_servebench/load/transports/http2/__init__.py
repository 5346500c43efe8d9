"""HTTP/2 (RFC 9113), and unary gRPC over it."""
