"""Processes below this one, some of which end while they are looked at."""

import psutil

GENERATOR = "pytest_servebench.load.generator"


def command_line(process: psutil.Process) -> str:
    """Return a process's command line; nothing of one that has ended, or is a zombie."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def children_with(part: str) -> list[psutil.Process]:
    """Return the processes below this one whose command line holds ``part``."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if part in command_line(child)]
