"""Keeping raw figures, and writing RESULTS.md from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks import plotting
from benchmarks.parts import Bar, Part
from benchmarks.parts.registry import PARTS
from benchmarks.peers.registry import PEERS
from benchmarks.settings import FIGURES, RESULTS

_VERDICT = {True: "reached", False: "**not reached**", None: "cannot tell"}


def keep(part: Part, data: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write what a part has measured, and under what circumstances, to its file."""
    FIGURES.mkdir(exist_ok=True)
    text = json.dumps({"about": about, "data": data}, indent=1)
    (FIGURES / f"{part.NAME}.json").write_text(text)


def _kept() -> list[tuple[Part, dict[str, Any]]]:
    result = []
    for part in PARTS:
        file = FIGURES / f"{part.NAME}.json"
        if file.exists():
            result.append((part, json.loads(file.read_text())))
    return result


def overview() -> str:
    """Return the table of all peers."""
    columns: dict[str, Mapping[str, str]] = {}
    for part, kept in _kept():
        columns.update(part.columns(kept["data"]))
    titles = {peer.name: peer.title for peer in PEERS}
    rows = []
    for name, title in titles.items():
        cells = [column.get(name, "–") for column in columns.values()]
        if any(cell != "–" for cell in cells):
            rows.append([f"**{name}**: {title}", *cells])
    return plotting.table(["peer", *columns], rows)


def bars() -> str:
    """Return the table of what was to be reached."""
    found: list[Bar] = [bar for part, kept in _kept() for bar in part.bars(kept["data"])]
    rows = [[bar.what, bar.figure, bar.limit, _VERDICT[bar.reached]] for bar in found]
    return plotting.table(["figure", "measured", "asked", "verdict"], rows)


def write() -> None:
    """Write RESULTS.md and the plots."""
    parts = _kept()
    if not parts:
        raise FileNotFoundError("nothing has been measured: run without --report-only")
    texts = [
        "# Our load engine and its peers",
        "Every figure is the median of its runs, with the lowest and the highest in brackets. "
        "Peers run in alternating order, another one first in each round. Written by "
        "`python -m benchmarks`; verdicts are computed from the figures.",
        "## What was to be reached",
        bars(),
        "## Overview",
        overview(),
        _absent(parts),
    ]
    for part, kept in parts:
        texts += [f"## {part.TITLE}", part.section(kept["data"]), _circumstances(kept["about"])]
    texts += ["## The machine", _machine(parts)]
    RESULTS.write_text("\n\n".join(text for text in texts if text) + "\n")


def _absent(parts: list[tuple[Part, dict[str, Any]]]) -> str:
    absent: dict[str, str] = {}
    for _, kept in parts:
        absent.update(kept["about"]["left_out"])
    if not absent:
        return ""
    return "Left out: " + "; ".join(f"{name} ({reason})" for name, reason in absent.items()) + "."


def _circumstances(about: Mapping[str, Any]) -> str:
    return f"*{about['date']}: `{about['command']}`.*"


def _machine(parts: list[tuple[Part, dict[str, Any]]]) -> str:
    """Describe the machine of the newest figures."""
    newest = max((kept["about"] for _, kept in parts), key=lambda about: str(about["date"]))
    return plotting.table(["", ""], [[key, value] for key, value in newest["machine"].items()])
