"""Tables in Markdown, and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.settings import PLOTS
from benchmarks.stats import Spread


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line)
                     + " |" for line in lines)  # fmt: skip


def save(figure: Any, name: str, alternative: str) -> str:
    """Write a figure of matplotlib to ``plots`` and return the Markdown that shows it."""
    PLOTS.mkdir(exist_ok=True)
    # Without date and version, the same figures give the same file.
    figure.savefig(PLOTS / f"{name}.png", dpi=120, metadata={"Software": None})
    return f"![{alternative}](plots/{name}.png)"


def new_figure() -> tuple[Any, Any]:
    """Return a figure with one pair of axes, drawn without a display."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only the report needs it

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def grouped_bars(
    name: str,
    ticks: Sequence[str],
    groups: Mapping[str, Sequence[Spread | None]],
    *,
    label: str,
    line: tuple[str, float] | None = None,
    log: bool = False,
) -> str:
    """Draw medians with their ranges: for each tick a bar for each group that has one."""
    figure, axes = new_figure()
    width = 0.8 / max(len(groups), 1)
    for place, (group, values) in enumerate(groups.items()):
        known = [(tick, value) for tick, value in enumerate(values) if value is not None]
        if not known:
            continue
        medians = [value.median for _, value in known]
        ranges = [
            [value.median - value.low for _, value in known],
            [value.high - value.median for _, value in known],
        ]
        at = [tick + (place - (len(groups) - 1) / 2) * width for tick, _ in known]
        bars = axes.bar(at, medians, width * 0.9, yerr=ranges, label=group, color=f"C{place}",
                        error_kw={"lw": 1})  # fmt: skip
        axes.bar_label(bars, [f"{median:,.0f}" for median in medians], fontsize=7, padding=2)
    if line is not None:
        axes.axhline(line[1], color="black", linestyle="--", linewidth=1, label=line[0])
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_ylabel(label)
    if log:
        axes.set_yscale("log")
    axes.legend(fontsize=8, ncols=2)
    return save(figure, name, label)
