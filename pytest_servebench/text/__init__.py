"""Strings, numbers, tables and the live line: safe to show anywhere."""
