"""The command line ``pytest-servebench``; its commands are in ``commands/``."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from pytest_servebench._version import __version__
from pytest_servebench.commands import compare, list_runs, plan, report, run, show, size, whatif
from pytest_servebench.errors import ServebenchError

USAGE_ERROR: Final = 2
BROKEN_PIPE: Final = 141  # a shell's status for a program killed by SIGPIPE
_COMMANDS: Final = {
    "run": run, "show": show, "report": report, "compare": compare, "list": list_runs, "plan": plan,
    "size": size, "whatif": whatif,
}  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="pytest-servebench",
        description="Compare model servers under open-loop Poisson load.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS.values():
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; for ``run``, that of pytest."""
    own = list(sys.argv[1:] if arguments is None else arguments)
    further: list[str] = []
    if own[:1] == ["run"] and "--" in own:
        where = own.index("--")
        own, further = own[:where], own[where + 1 :]
    options = build_parser().parse_args(own)
    options.further = further
    try:
        status: int = _COMMANDS[options.command].run(options)
        sys.stdout.flush()
    except ServebenchError as error:
        print(f"pytest-servebench {options.command}: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        # The reader, such as head, has closed the pipe. Python would complain once more when it
        # flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception:
        # Python would exit with 1, which means that something got worse.
        sys.stdout.flush()
        traceback.print_exc()
        return USAGE_ERROR
    return status
