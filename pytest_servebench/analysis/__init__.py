"""What runs say beside each other: comparison, evaluation, plans."""
