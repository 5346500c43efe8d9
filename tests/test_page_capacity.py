"""Capacities on the page and in their plot: what was found, the probes, and what stays apart."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.report.capacity_chart import CapacityPanel, capacity_panels
from pytest_servebench.report.plots import draw_plots
from pytest_servebench.runs.capacity import CapacityLimit
from pytest_servebench.runs.results import CaseResult, ClauseResult, Run, VerdictWord
from simulation import cases, saved
from simulation.capacities import SLO, capacity, probe_cases
from tests.pages import check, page_text
from tests.report.test_plots import laid_out

VERDICTS: Sequence[VerdictWord] = ("passed", "inconclusive", "failed", "inconclusive")
OTHER = {"kind": "tensorflow_serving", "title": "TensorFlow Serving"}
UNKNOWN: dict[str, Any] = {"value": None, "low": None, "high": None, "verdict": "inconclusive"}


@functools.cache
def judged(kind: str = "torchserve", title: str = "TorchServe") -> tuple[CaseResult, ...]:
    """Return probes at 50, 100, 150 and 104/s with a verdict each."""
    return tuple(
        dataclasses.replace(
            case,
            verdict=word,
            clauses=(ClauseResult(SLO, "p99", 0.05, 0.05, None, None, word, ""),),
        )
        for case, word in zip(probe_cases(kind=kind, title=title), VERDICTS, strict=True)
    )


def searched(*found: dict[str, Any], loads: Sequence[CaseResult] = ()) -> Run:
    """Return a run of searches by the fields of what they found, the second of another server."""
    probes = [judged(**server) for server in ({}, OTHER)[: len(found)]]
    return dataclasses.replace(
        saved.run(loads),
        capacities=tuple(
            capacity(probes=own, **fields) for own, fields in zip(probes, found, strict=True)
        ),
        probes=tuple(case for own in probes for case in own),
    )


def panels(run: Run) -> list[CapacityPanel]:
    return capacity_panels(run.capacities, run.probes)


@pytest.mark.parametrize(
    ("fields", "band", "middle", "words"),
    [
        ({}, (100, 116), 107.9, "108/s (100 to 116)"),
        (
            UNKNOWN | {"state": "open", "value": 130.0, "needed_seconds": 590.0},
            None, 130, "about 130/s, openabout 590 s more of load would close it",
        ),
        (UNKNOWN | {"state": "above_range", "low": 400.0}, (400, math.inf), 400, "at least 400/s"),
        (UNKNOWN | {"state": "below_range", "high": 80.0}, (0, 80), 80, "below 80/s"),
        (
            UNKNOWN | {"state": "generator_limited", "low": 90.0, "generator_limit": 800.0},
            (90, math.inf), 90, "at least 90/s, invalid above 800/s",
        ),
        (UNKNOWN | {"state": "server_died"}, None, None, "not known, as the server died"),
    ],
    ids=["found", "open", "above", "below", "generator", "died"],
)  # fmt: skip
def test_a_capacity_is_told_and_drawn(
    fields: dict[str, Any], band: tuple[float, float] | None, middle: float | None, words: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    reason = "a reason" if "state" in fields else ""
    run = searched(fields | {"reason": reason})
    text = " ".join(check(page_text(run, tmp_path)).text.split())
    assert words in text
    assert not reason or text.count(reason) == 1  # where it needs attention
    latency, shares = panels(run)
    assert (latency.unit, latency.bound, shares.bound) == ("ms", (50, SLO), (1, SLO))
    for panel in (latency, shares):
        (one,) = panel.found
        assert (one.band, one.middle) == (band, middle)
        assert [mark.standing for mark in one.marks] == ["kept", "undecided", "broken", "undecided"]
        assert [mark.rate for mark in one.marks] == [50, 100, 150, 104]
        assert all(panel.x.holds(mark.rate) for mark in one.marks)
        assert panel.y.holds(panel.bound[0])
        assert middle is None or panel.x.first < middle < panel.x.last
        assert all(panel.x.holds(rate) for rate in panel.generator_limits)
    assert [mark.point.value for mark in shares.found[0].marks] == [
        100 * probe.beyond[0] / probe.arrivals for probe in run.capacities[0].probes
    ]


def test_axes_are_linear_unless_capacities_are_far_apart() -> None:
    near, far = ({"value": v, "low": 0.9 * v, "high": 1.1 * v} for v in (90.0, 2000.0))
    assert not panels(searched({}, near))[0].x.logarithmic
    x = panels(searched({}, far))[0].x
    assert x.logarithmic
    assert all(x.holds(end) for end in (50, 2200))
    letters = panels(searched({}, {}))[0].letter_places(0.05)
    (one, first), (other, second) = letters
    assert {one.letter, other.letter} == {"A", "B"}
    assert second - first == pytest.approx(0.05)


def test_probes_far_above_every_capacity_would_squeeze_the_others(tmp_path: Path) -> None:
    run = searched({"value": 60.0, "low": 55.0, "high": 65.0})
    (one,) = (latency := panels(run)[0]).found
    assert [mark.rate for mark in one.marks] == [50, 100, 104]
    assert latency.beyond == (150,)
    assert latency.x.last < 150
    assert "probes at 150/s" in check(page_text(run, tmp_path)).text


def test_a_limit_that_no_request_broke_is_told_and_not_drawn(tmp_path: Path) -> None:
    run = searched({})
    (one,) = run.capacities
    limits = (*one.limits, CapacityLimit("success_rate>=99%", 0.01), CapacityLimit("???", 0.01))
    probes = tuple(
        dataclasses.replace(probe, beyond=(*probe.beyond, 0, 1), counted=probe.counted * 3)
        for probe in one.probes
    )
    run = dataclasses.replace(
        run, capacities=(dataclasses.replace(one, limits=limits, probes=probes),)
    )
    titles = [panel.title for panel in panels(run)]
    assert titles == ["Latency p99", f"Requests that broke {SLO}", "Requests that broke ???"]
    assert "No request broke success_rate>=99%." in check(page_text(run, tmp_path)).text


def test_probes_stay_apart_from_the_cases_of_the_run(tmp_path: Path) -> None:
    case = cases.case(cases.steady(np.full(100, 0.01)), 10.0)
    run = searched({}, OTHER | {"slow_recovery": True}, loads=[case])
    html = check(page_text(run, tmp_path))
    rows = [one["data-case"] for one in html.named("tr") if "data-case" in one]
    assert len(rows) == 1
    assert "1 of 1 case" not in html.text
    folded = [one["id"] for one in html.named("details") if "probe" in one.get("id", "")]
    assert len(folded) == 8
    assert sum("data-case" in one and "probe" in one["data-case"] for one in html.named("tr")) == 0
    assert "recovers slowly" in html.text
    assert "2 passed" in html.text  # capacities: the load has no SLO


def test_a_run_of_searches_alone_has_their_plot_and_no_empty_sections(tmp_path: Path) -> None:
    run = searched({}, OTHER)
    html = check(page_text(run, tmp_path))
    assert {"capacity", "measured"} < set(html.attributes("id"))
    assert not {"cases", "drill", "matrix", "sweeps"} & set(html.attributes("id"))
    (path,) = (figures := laid_out(run, tmp_path))
    assert path == tmp_path / "plots" / "capacity"
    titles = [ax.get_title(loc="left") for ax in figures[path].axes]
    assert titles == ["Latency p99", f"Requests that broke {SLO}"]
    legend = [text.get_text() for text in figures[path].legends[0].get_texts()]
    assert legend[0] == "A TorchServe: 108/s (100 to 116)"
    assert {"kept", "broken", "undecided"} < set(legend)


def test_without_a_probe_there_is_no_plot(tmp_path: Path) -> None:
    died = capacity(**UNKNOWN, state="server_died")
    run = dataclasses.replace(saved.run([]), capacities=(died,))
    assert draw_plots(run, tmp_path) == []
    assert "No probe was measured." in check(page_text(run, tmp_path)).text
