"""Values: of models, what is expected of them, and those of metrics."""
