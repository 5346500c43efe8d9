"""Store raw figures, and write RESULTS.md from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks import plotting
from benchmarks.parts import Part
from benchmarks.parts.registry import OF_PEERS, PARTS
from benchmarks.peers.registry import PEERS
from benchmarks.settings import FIGURES, RESULTS

_BARS = ["part", "figure", "measured", "target", "verdict"]
_REACHED = "What was to be reached"
_OVERVIEW = "Overview"
_VERDICT = {True: "reached", False: "**not reached**", None: "inconclusive"}


def keep(part: Part, data: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write a part's figures, and how they were measured, to its file."""
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
    """Return the table of all peers; empty if no figures are of peers."""
    columns: dict[str, Mapping[str, str]] = {}
    for part, kept in _kept():
        columns.update(part.columns(kept["data"]))
    titles = {peer.name: peer.title for peer in PEERS}
    rows = []
    for name, title in titles.items():
        cells = [column.get(name, "–") for column in columns.values()]
        if any(cell != "–" for cell in cells):
            rows.append([f"**{name}**: {title}", *cells])
    return plotting.table(["peer", *columns], rows) if rows else ""


def bars(old: str = "") -> str:
    """Return the table of targets; parts without new figures keep their old rows."""
    kept = {part.NAME: kept for part, kept in _kept()}
    rows: list[str] = []
    for part in PARTS:
        if part.NAME in kept:
            found = part.bars(kept[part.NAME]["data"])
            cells = [
                [part.NAME, bar.what, bar.figure, bar.limit, _VERDICT[bar.reached]] for bar in found
            ]
            rows += plotting.table(_BARS, cells).splitlines()[2:]
        else:
            rows += [row for row in old.splitlines() if row.startswith(f"| {part.NAME} |")]
    return "\n".join([plotting.table(_BARS, []), *rows])


def write() -> None:
    """Write RESULTS.md and the plots; sections without new figures are kept."""
    parts = {part.NAME: (part, kept) for part, kept in _kept()}
    if not parts:
        raise FileNotFoundError("nothing has been measured: run without --report-only")
    old = _sections(RESULTS.read_text()) if RESULTS.exists() else {}
    texts = [
        "# Our load engine and its peers",
        "Every figure is the median of its runs, with minimum and maximum in brackets. Peers run "
        "in turn, a different one first in each round. Written by `python -m benchmarks`; verdicts "
        "are computed from the figures.",
        f"## {_REACHED}",
        bars(old.get(_REACHED, "")),
        f"## {_OVERVIEW}",
    ]
    # Each of these parts adds columns to the table of peers.
    if parts.keys() >= OF_PEERS or _OVERVIEW not in old:
        texts += [overview(), _absent([*parts.values()])]
    else:
        texts.append(old[_OVERVIEW])
    for part in PARTS:
        if part.NAME in parts:
            kept = parts[part.NAME][1]
            texts += [f"## {part.TITLE}", part.section(kept["data"]), _circumstances(kept["about"])]
        elif part.TITLE in old:
            texts += [f"## {part.TITLE}", old[part.TITLE]]
    texts += ["## The machine", _machine([*parts.values()])]
    RESULTS.write_text("\n\n".join(text for text in texts if text) + "\n")


def _sections(text: str) -> dict[str, str]:
    """Return the text under each second-level heading."""
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {title: body.strip() for title, _, body in parts}


def _absent(parts: list[tuple[Part, dict[str, Any]]]) -> str:
    absent: dict[str, str] = {}
    for _, kept in parts:
        absent.update(kept["about"]["left_out"])
    if not absent:
        return ""
    return "Skipped: " + "; ".join(f"{name} ({reason})" for name, reason in absent.items()) + "."


def _circumstances(about: Mapping[str, Any]) -> str:
    load = about.get("busy")
    other = f" The machine was busy: {load:.1f} runnable processes of others." if load else ""
    return f"*{about['date']}: `{about['command']}`.{other}*"


def _machine(parts: list[tuple[Part, dict[str, Any]]]) -> str:
    """Describe the machine of the newest figures."""
    newest = max((kept["about"] for _, kept in parts), key=lambda about: str(about["date"]))
    return plotting.table(["", ""], [[key, value] for key, value in newest["machine"].items()])
