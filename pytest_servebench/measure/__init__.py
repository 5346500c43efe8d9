"""One case from its traffic to its result."""
