"""Files and processes of our own."""
