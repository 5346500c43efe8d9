"""The servers under load: nginx, and one with a fixed delay that notes when requests come."""
