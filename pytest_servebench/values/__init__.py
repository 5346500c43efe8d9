"""Values: arrays of models and what is expected of them, and readings of metrics."""
