"""``pytest-servebench compare BASE NEW [NEW...]``: what got worse."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from _pytest._io import TerminalWriter

from pytest_servebench.analysis.allowable import ALLOWABLE
from pytest_servebench.analysis.comparability import Difference, differences
from pytest_servebench.analysis.compare import compare, why_unknown
from pytest_servebench.analysis.pairs import key_text
from pytest_servebench.commands.arguments import Commands, add_results, results_of
from pytest_servebench.errors import OptionError
from pytest_servebench.metrics import COMPARED, METRICS
from pytest_servebench.objectives.gates import Gate, check_thresholds, parse_gates
from pytest_servebench.report.comparison_text import Block, Compared, refusal, table_lines
from pytest_servebench.report.outputs import COMPARISONS, call
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.runs.run_names import find_run
from pytest_servebench.system.files import write_whole
from pytest_servebench.text.safe import shows_unicode, to_ascii
from pytest_servebench.text.tables import Line, plain_text

_DESCRIPTION: Final = """\
Compare saved runs: what got worse beyond noise, and what is inconclusive.

A run is a run.json, its directory, the name of a run in the results directory
("latest"), or a file of pytest-benchmark, vLLM bench serve (--save-detailed),
AIPerf (profile_export.jsonl) or GuideLLM (JSON). Exit codes: 0 nothing got worse, 1 a
gate failed (without --fail: p50, the tail, throughput or success rate got
significantly worse), 2 the runs cannot be compared."""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "compare",
        help="compare saved runs, and fail if something got worse",
        description=_DESCRIPTION,
        epilog="differences that --allow accepts:\n"
        + "\n".join(f"  {name:<16}{meaning}" for name, meaning in ALLOWABLE.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", metavar="BASE", help="the run to compare with")
    parser.add_argument("new", metavar="NEW", nargs="+",
                        help="the new run; several are compared one by one")  # fmt: skip
    parser.add_argument(
        "--fail",
        action="append",
        default=[],
        metavar="METRIC:N%",
        help="fail if a metric got significantly worse, by more than N %% (percentage points for "
        "shares), such as p99:10%%; may be repeated; metrics: "
        f"{', '.join(one.written for one in COMPARED.values())}",
    )
    parser.add_argument("--allow", action="append", default=[], metavar="WHAT,...",
                        help="compare despite these differences; see below")  # fmt: skip
    add_results(parser)
    parser.add_argument("--all", action="store_true", help="show every metric")
    parser.add_argument("--format", choices=tuple(COMPARISONS), default="table",
                        help="output format (default: table)")  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE",
                        help="write the output to FILE, and the table to the terminal")  # fmt: skip
    parser.add_argument("--html", type=Path, metavar="FILE",
                        help="also write the comparison as an HTML page")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Compare, write the requested output, and return the exit code.

    Raises:
        ServebenchError: an option is invalid, or a file cannot be read or written.
    """
    gates = _gates(options.fail)
    allow = _allowed(options.allow)
    results = results_of(options)
    files = [find_run(name, results) for name in (options.base, *options.new)]
    base, *others = (
        read_file(path, any_schema="schema" in allow, any_tool=True)[0] for path in files
    )
    directories = [path.parent for path in files]
    blocks = [
        _compare(base, new, gates, allow, (directories[0], directory))
        for new, directory in zip(others, directories[1:], strict=True)
    ]
    found = Compared(blocks, options.all)
    _write(options, found)
    if options.html is not None:
        _write_page(options.html, found.blocks, directories)
    return found.status


def _write_page(path: Path, blocks: Sequence[Block], directories: Sequence[Path]) -> None:
    # Slow to import, and not needed for a comparison in the terminal.
    from pytest_servebench.report.page import comparison_page  # noqa: PLC0415

    found = [(block.comparison, block.allowed, block.refused) for block in blocks]
    text = comparison_page(found, directories[0], directories[1:])
    _write_file("--html", path, text)


def _gates(texts: Sequence[str]) -> list[Gate]:
    gates: list[Gate] = []
    for text in texts:
        try:
            gates += parse_gates(text)
        except OptionError as error:
            raise type(error)(f"--fail: {error}") from None
    check_thresholds(gates, "--fail")
    return gates


def _allowed(texts: Sequence[str]) -> frozenset[str]:
    words = [word.strip() for text in texts for word in text.split(",")]
    for word in words:
        if word not in ALLOWABLE:
            raise OptionError(f"--allow={word!r}: choose from {', '.join(ALLOWABLE)}")
    return frozenset(words)


def _compare(
    base: Run,
    new: Run,
    gates: Sequence[Gate],
    allow: frozenset[str],
    directories: tuple[Path, Path],
) -> Block:
    found = differences(base, new)
    refused = [one for one in found if one.about not in allow]
    comparison = compare(base, new, gates, directories=directories)
    if not comparison.cases and not refused:
        refused.append(Difference("unmatched", "the runs have no valid case in common"))
    elif not refused and not gates and not any(case.changes for case in comparison.cases):
        text = "no search by find_capacity found an interval in both runs"
        refused.append(Difference("capacity", text))
    for result in comparison.gates:
        if comparison.cases and not result.judged:
            where = why_unknown(result.gate, (case.pair for case in comparison.cases))
            text = (
                f"--fail={result.gate}: no case has this metric in both runs (unknown {where}); "
                "run the suite again, or leave the gate out"
            )
            refused.append(Difference("gate", text))
        elif METRICS[result.gate.metric].of_search and not comparison.worse:
            # Another server's capacity must not let this one pass.
            refused += [
                Difference(
                    "gate",
                    f"--fail={result.gate}: undecided for {key_text(case.key)} (unknown "
                    f"{why_unknown(result.gate, [case.pair])}); search longer by "
                    "--servebench-capacity-budget, or leave the gate out",
                )
                for case in result.undecided
            ]
    return Block(comparison, tuple(one for one in found if one.about in allow), tuple(refused))


def _write(options: argparse.Namespace, found: Compared) -> None:
    text = call(COMPARISONS[options.format], found)
    if options.output is not None:
        _write_file("--output", options.output, text)
    if options.output is not None or options.format == "table":
        _print_lines(table_lines(found))
        return
    sys.stdout.write(text if shows_unicode(sys.stdout) else to_ascii(text))
    for block in found.blocks:
        for parts in refusal(block) if block.refused else ():
            print(plain_text(parts), file=sys.stderr)


def _write_file(option: str, path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise OptionError(
            f"{option}={str(path)!r}: cannot write: {error.strerror}; give a file in an existing, "
            "writable directory"
        ) from error


def _print_lines(lines: Sequence[Line]) -> None:
    writer = TerminalWriter(sys.stdout)
    unicode = shows_unicode(sys.stdout)
    for parts in lines:
        for number, (text, markup) in enumerate(parts):
            shown = text.rstrip() if number == len(parts) - 1 else text
            writer.write(shown if unicode else to_ascii(shown), **markup)
        writer.line()
