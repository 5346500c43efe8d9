"""A run as data: results, the files that hold them, and how they are found."""
