"""The commands of ``pytest-servebench``: each module gives its parser and what it does."""
