"""Measure one case, from its traffic to its result."""
