"""How predictions are asked for and read, one module for each protocol."""
