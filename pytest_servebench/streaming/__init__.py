"""Streamed answers: split into events after the load, and interpreted."""
