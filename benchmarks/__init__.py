"""Our load engine and its peers, side by side on one machine: ``python -m benchmarks``."""
