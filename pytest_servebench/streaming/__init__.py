"""Streamed answers: cut into events after the load, and what the events say."""
