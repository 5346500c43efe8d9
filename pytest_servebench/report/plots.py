"""Plots of a run."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench.results import Run


def draw_plots(run: Run, directory: Path) -> list[Path]:  # noqa: ARG001
    """Draw the plots into ``directory / "plots"``; return the files."""
    return []
