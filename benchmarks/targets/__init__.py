"""The servers under load: nginx, gRPC's, and one whose delay is fixed and its stamps kept."""
