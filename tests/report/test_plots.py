from __future__ import annotations

import dataclasses
import functools
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from pytest_servebench.report import SUMMARY_FILE, write_report
from pytest_servebench.report.plot_distribution import percentile_curve
from pytest_servebench.report.plot_frame import shown
from pytest_servebench.report.plot_scales import nice_ticks
from pytest_servebench.report.plot_series import colours, make_series
from pytest_servebench.report.plots import draw_plots
from pytest_servebench.results import Run
from tests.report import made_runs
from tests.report.made_runs import OTHER, TENSORFLOW_SERVING, TORCHSERVE, case, invalid, run

FIGURES = {
    "overview", "latency", "throughput", "success_rate", "cpu", "memory", "latency_distribution",
}  # fmt: skip


def check(files: list[Path]) -> None:
    for path in files:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.verify()
            with Image.open(path) as image:
                low, high = np.asarray(image.convert("L")).min(), 255
                assert low < high  # something is drawn
                assert 800 < image.width < 2000
        elif path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")


Drawn = Callable[[Callable[[], Run]], tuple[Path, list[Path]]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Write a run's report, once for all tests here; give its directory and its files."""

    @functools.cache
    def write(make: Callable[[], Run]) -> tuple[Path, list[Path]]:
        directory = tmp_path_factory.mktemp(make.__name__)
        return directory, write_report(make(), directory)

    return write


@pytest.mark.parametrize(
    "make",
    [
        made_runs.overloaded_run,
        made_runs.single_run,
        made_runs.nothing_ok_run,
        made_runs.no_arrivals_run,
        made_runs.attached_run,
        made_runs.all_invalid_run,
    ],
    ids=lambda make: make.__name__,
)
def test_all_plots_are_drawn(make: Callable[[], Run], drawn: Drawn) -> None:
    directory, (_, *files) = drawn(make)
    assert {path.stem for path in files} == FIGURES
    assert {path.suffix for path in files} == {".png", ".svg"}
    assert sorted((directory / "plots").iterdir()) == sorted(files)
    check(files)


def test_names_are_no_mathematics_and_no_paths(tmp_path: Path) -> None:
    files = draw_plots(made_runs.hostile_run(), tmp_path)
    assert len(files) == 2 * 2 * len(FIGURES)  # two test functions
    assert all(path.resolve().is_relative_to(tmp_path / "plots") for path in files)
    check(files)


def test_a_run_without_cases_has_no_plots(tmp_path: Path) -> None:
    assert draw_plots(run([]), tmp_path) == []


def test_the_report_is_text_and_plots(drawn: Drawn) -> None:
    directory, files = drawn(made_runs.single_run)
    assert files[0] == directory / SUMMARY_FILE
    assert len(files) == 1 + 2 * len(FIGURES)
    assert all(path.is_file() for path in files)


def test_records_that_are_gone_or_damaged_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "damaged.npz").write_bytes(b"no records")
    cases = [
        dataclasses.replace(case(rate=rate), records=None, records_file=name)
        for rate, name in ((5.0, "gone.npz"), (10.0, "damaged.npz"))
    ]
    check(draw_plots(run(cases), tmp_path))


def test_the_users_own_style_changes_nothing(drawn: Drawn, tmp_path: Path) -> None:
    _, (_, *plain) = drawn(made_runs.no_arrivals_run)
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30, "figure.dpi": 10}):
        styled = draw_plots(made_runs.no_arrivals_run(), tmp_path)
        assert mpl.rcParams["font.size"] == 30  # and is as it was
    for one, other in zip(plain, styled, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_no_global_state_of_pyplot_is_touched() -> None:
    code = (
        "import sys, tempfile, pathlib; from tests.report import made_runs; "
        "from pytest_servebench.report import write_report; "
        "write_report(made_runs.all_invalid_run(), pathlib.Path(tempfile.mkdtemp())); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    import subprocess  # noqa: PLC0415

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0  # noqa: PLW1510


def test_a_kind_keeps_its_colour() -> None:
    both = colours(["tensorflow_serving", "torchserve", "other"])
    assert len(set(both.values())) == 3
    assert colours(["torchserve"])["torchserve"] == both["torchserve"]


def test_curves_are_told_apart_by_colour_line_and_marker() -> None:
    cases = [
        case(server, buffer_size=size, duration=1.0)
        for server in (TENSORFLOW_SERVING, TORCHSERVE, OTHER)
        for size in (0, 10, 50, 100)
    ]
    series = make_series(cases, colours(one.server.kind for one in cases))
    assert len({(one.colour, one.line, one.marker) for one in series}) == 12


def test_invalid_cases_are_left_out() -> None:
    cases = [case(rate=5.0), invalid(case(rate=10.0))]
    (series,) = make_series(cases, colours(["tensorflow_serving"]))
    assert [one.rate for one in series.cases] == [5.0]


def test_a_long_run_is_thinned_out_but_for_its_tail() -> None:
    latencies = np.random.default_rng(0).exponential(size=1_000_000)
    slower, latency = percentile_curve(latencies)
    assert len(slower) <= 400
    assert latency[-1] == latencies.max()
    assert (np.diff(latency) >= 0).all()
    assert slower[0] > 0.999


def test_failed_requests_keep_their_share() -> None:
    slower, latency = percentile_curve(np.array([1.0, 2.0, np.inf, np.inf]))
    assert latency.tolist() == [1.0, 2.0]
    assert slower.tolist() == [0.875, 0.625]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 12, [1, 2, 5, 10]),
        (0.9, 1200, [1, 10, 100, 1000]),
        (0.9, 120, [1, 3, 10, 30, 100]),
        (4, 22, [4, 5, 7, 10, 15, 20]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    ticks = nice_ticks(low, high)
    assert set(expected) <= set(ticks)
    assert 3 <= len(ticks) <= 10


def test_dollars_are_shown() -> None:
    assert shown("a$b\n$c") == r"a\$b \$c"
