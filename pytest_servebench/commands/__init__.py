"""The commands of ``pytest-servebench``: each module has a command's parser and its code."""
