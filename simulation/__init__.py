"""Queues whose truth is known: as formulas, as records and saved runs, and as a server."""
