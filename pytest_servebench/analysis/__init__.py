"""What several results say together: comparisons, evaluation, plans."""
