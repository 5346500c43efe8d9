"""Prediction protocols: how to ask for predictions and read them."""
