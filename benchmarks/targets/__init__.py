"""The servers under load: nginx, gRPC in C++, and one whose delay is fixed and its stamps kept."""
