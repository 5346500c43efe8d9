import dataclasses
import functools
import io
import itertools
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from pytest_servebench.metrics import METRICS
from pytest_servebench.report.panels import percentile_panel
from pytest_servebench.report.percentile_curves import curve
from pytest_servebench.report.plot_frame import Frame, drawing, legend_handles
from pytest_servebench.report.plots import draw_plots
from pytest_servebench.report.series import colours, make_series
from pytest_servebench.report.sweep import endings, sweep
from pytest_servebench.runs.results import ClauseResult, Run
from pytest_servebench.stats.estimates import ClassFigures
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


Drawn = Callable[[Callable[[], Run]], dict[Path, Figure]]


def laid_out(made: Run, directory: Path) -> dict[Path, Figure]:
    """Return a run's figures by the path of their files, each text in its place, without files."""
    figures = {}

    def keep(frame: Frame, path: Path) -> list[Path]:
        frame.figure.draw_without_rendering()
        figures[path] = frame.figure
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Frame, "save", keep)
        draw_plots(made, directory)
    return figures


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Lay a run's figures out, once for all tests here."""
    return functools.cache(lambda make: laid_out(make(), tmp_path_factory.mktemp(make.__name__)))


@pytest.mark.slow
def test_files_depend_on_neither_the_users_style_nor_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = draw_plots(made_runs.single_run(), tmp_path / "plain")
    assert {path.stem for path in files} == FIGURES
    assert {path.suffix for path in files} == {".png", ".svg"}
    assert sorted((tmp_path / "plain" / "plots").iterdir()) == sorted(files)
    check(files)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")  # which matplotlib would take for the date
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30, "figure.dpi": 10}):
        again = draw_plots(made_runs.single_run(), tmp_path / "styled")
        assert mpl.rcParams["font.size"] == 30  # and is as it was
    for one, other in zip(files, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
        assert b"<dc:date>" not in one.read_bytes()


@pytest.mark.slow
def test_what_no_server_shows_has_no_plot(drawn: Drawn) -> None:
    figures = drawn(made_runs.all_attached_run)
    assert {path.name for path in figures} == FIGURES - {"cpu", "memory"}
    titles = {ax.get_title() for figure in figures.values() for ax in figure.axes}
    assert not any("CPU" in title or "Memory" in title for title in titles)


@pytest.mark.slow
def test_names_are_no_mathematics_and_no_paths(tmp_path: Path) -> None:
    figures = laid_out(made_runs.hostile_run(), tmp_path)
    assert len(figures) == 2 * len(FIGURES)  # two test functions
    assert all(path.resolve().is_relative_to(tmp_path / "plots") for path in figures)


def test_a_run_without_cases_has_no_plots(tmp_path: Path) -> None:
    assert draw_plots(run([]), tmp_path) == []


@pytest.mark.slow
def test_no_global_state_of_pyplot_is_touched() -> None:
    code = (
        "import sys, tempfile, pathlib; from tests.report import made_runs; "
        "from pytest_servebench.report.outputs import OUTPUTS, Material; "
        "made = Material(made_runs.all_invalid_run(), pathlib.Path(tempfile.mkdtemp())); "
        "[one.write(made) for one in OUTPUTS if one.kind == 'files']; "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


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


def test_loads_of_one_rate_are_told_apart_by_their_labels() -> None:
    one = case(rate=5.0)
    cases = [dataclasses.replace(one, label=label) for label in ("cold", "warm")]
    series = make_series(cases, colours(["tensorflow_serving"]))
    assert [curve.label.rpartition(", ")[2] for curve in series] == ["cold", "warm"]
    assert [curve.cases for curve in series] == [(case,) for case in cases]
    assert series[0].line != series[1].line
    assert series[0].colour != series[1].colour
    cells = [case(rate=rate, buffer_size=size) for size in (0, 9) for rate in (5.0, 10.0)]
    loads = [dataclasses.replace(cell, label=label) for label in ("a", "b", "c") for cell in cells]
    many = legend_handles(make_series(loads, colours(["tensorflow_serving"])))
    assert {"a", "b", "c"} <= {label.rpartition(", ")[2] for _, label in many}


def test_invalid_cases_are_left_out() -> None:
    cases = [case(rate=5.0), invalid(case(rate=10.0))]
    (series,) = make_series(cases, colours(["tensorflow_serving"]))
    assert [one.rate for one in series.cases] == [5.0]


def test_a_long_run_is_thinned_out_but_for_its_tail() -> None:
    latencies = np.random.default_rng(0).exponential(size=1_000_000)
    slower, latency = curve(latencies)
    assert len(slower) <= 300
    assert latency[-1] == latencies.max()
    assert (np.diff(latency) >= 0).all()
    assert slower[0] > 0.999


def test_failed_requests_keep_their_share() -> None:
    slower, latency = curve(np.array([1.0, 2.0, np.inf, np.inf]))
    assert latency.tolist() == [1.0, 2.0]
    assert slower.tolist() == [0.875, 0.625]


# -- what stands in the figures ---------------------------------------------------------------

HOSTILE = r"a$b_c$ <d> & e^{f} \frac \$ %s"
LONG = "The Model Inference Server With An Extraordinarily Long Name And A Fallback"
UNITS = ("ms", "/s", "%", "MB")


def three_by_four_by_three() -> Run:
    return run(
        [
            case(server, rate, size, duration=4.0)
            for server in (TENSORFLOW_SERVING, TORCHSERVE, OTHER)
            for rate in (5.0, 20.0, 50.0, 120.0)
            for size in (0, 10, 50)
        ]
    )


def strangely_named() -> Run:
    servers = [
        dataclasses.replace(OTHER, title=HOSTILE, implementation=f"{HOSTILE} 1.0"),
        dataclasses.replace(OTHER, kind="b", title=LONG, implementation=f"{LONG} 1.0 " * 3),
    ]
    return run(
        [case(one, rate, size) for one in servers for rate in (5.0, 20.0) for size in (0, 9)]
    )


def two_bounds_close_together() -> Run:
    one = case(rate=40.0, slo=False)
    bounds = [
        ClauseResult(f"p50<{bound * 1e3:g}ms", "p50", bound, 0.012, None, None, "failed", "")
        for bound in (0.0095, 0.01)
    ]
    return run([dataclasses.replace(one, clauses=tuple(bounds))])


def broken_gate() -> Run:
    judged = ClauseResult("p50:1% against main", "p50", 0.01, 0.012, 0.0, 0.1, "failed", "", "gate")
    first, *others = made_runs.attached_run().cases
    parts = tuple(ClassFigures(name, first.summary) for name in ("chat", HOSTILE))
    return run([dataclasses.replace(first, clauses=(judged,), classes=parts), *others])


each_run = pytest.mark.parametrize(
    "make",
    [
        made_runs.overloaded_run, made_runs.no_arrivals_run,
        *(pytest.param(make, marks=pytest.mark.slow) for make in (
            made_runs.single_run, made_runs.nothing_ok_run, made_runs.all_invalid_run,
            made_runs.one_rate_run, strangely_named, three_by_four_by_three,
            two_bounds_close_together, broken_gate,
        )),
    ],
    ids=lambda make: make.__name__,
)  # fmt: skip


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return what stands in a figure, and where, but for ticks that lie outside their axis."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axes: list[Any] = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    hidden = {
        label
        for axis in axes
        for tick in set(axis.get_major_ticks()) - set(axis._update_ticks())
        for label in (tick.label1, tick.label2)
    }
    return [
        (one.get_text(), one.get_window_extent(renderer))
        for one in figure.findobj(Text)
        if one.get_visible() and one.get_text().strip() and one not in hidden
    ]


@pytest.mark.slow
@each_run
def test_no_text_covers_another_or_is_cut_off(make: Callable[[], Run], drawn: Drawn) -> None:
    figures = drawn(make)
    of_classes = {"classes"} if any(one.classes for one in make().cases) else set()
    assert {path.name for path in figures} == FIGURES | of_classes
    for path, figure in figures.items():
        found = texts(figure)
        assert len(found) > 5
        for index, (text, box) in enumerate(found):
            assert figure.bbox.padded(1).contains(box.x0, box.y0), (path.name, text)
            assert figure.bbox.padded(1).contains(box.x1, box.y1), (path.name, text)
            for other, its_box in found[:index]:
                both = Bbox.intersection(box, its_box)
                covered = both is not None and min(both.width, both.height) > 1
                assert not covered, (path.name, text, other)


@each_run
def test_every_axis_has_a_unit(make: Callable[[], Run], drawn: Drawn) -> None:
    for path, figure in drawn(make).items():
        for ax in figure.axes:
            assert any(unit in ax.get_xlabel() for unit in UNITS), path.name
            shared = ax.get_shared_y_axes().get_siblings(ax)
            assert any(unit in one.get_ylabel() for one in shared for unit in UNITS), (
                path.name
            )  # of panels side by side with the same axis, the first one names it


@each_run
def test_a_figure_says_by_itself_what_it_shows(make: Callable[[], Run], drawn: Drawn) -> None:
    made = make()
    for figure in drawn(make).values():
        text = " ".join(one for one, _ in texts(figure)).replace("  ", " ")
        for needed in ("n = ", "AMD EPYC 7B13", "2025-03-01 10:15", "pytest-servebench 0.1.0"):
            assert needed in text
        for one in made.cases:
            assert " ".join(one.server.implementation.split()) in text


@pytest.mark.slow
@pytest.mark.parametrize("make", [made_runs.overloaded_run, strangely_named])
def test_svg_holds_names_as_text(make: Callable[[], Run], drawn: Drawn) -> None:
    for figure in drawn(make).values():
        file = io.StringIO()
        with drawing():
            figure.savefig(file, format="svg")
        elements = ET.fromstring(file.getvalue()).iter("{http://www.w3.org/2000/svg}text")
        text = " ".join("".join(one.itertext()) for one in elements)
        for one in make().cases:
            assert one.server.title in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "clauses", "caption"),
    [
        (two_bounds_close_together, ["p50<9.5ms", "p50<10ms"], "Outlined: the SLO is broken."),
        (broken_gate, [], "Outlined: the gate is broken."),
    ],
)
def test_an_slos_bound_is_drawn_and_a_gates_is_not(
    make: Callable[[], Run], clauses: list[str], caption: str, drawn: Drawn
) -> None:
    (latency,) = (figure for path, figure in drawn(make).items() if path.name == "latency")
    shown = " ".join(" ".join(text for text, _ in texts(latency)).split())
    assert caption in shown
    assert [one for one in ("p50<9.5ms", "p50<10ms", "p50:1%") if f"SLO {one}" in shown] == clauses


# Machado, Oliveira and Fernandes (2009), IEEE TVCG 15:1291: what those see who lack the cones for
# green or red light.
SIGHT = {
    "normal": np.eye(3),
    "deuteranope": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                             [-0.011820, 0.042940, 0.968881]]),
    "protanope": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                           [-0.003882, -0.048116, 1.051998]]),
}  # fmt: skip
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.9505], [1.0], [1.089]])  # fmt: skip


def lab(colour: str, sight: str) -> npt.NDArray[np.float64]:
    """Return a colour's place in CIELAB as it is seen."""
    rgb = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = XYZ @ np.clip(SIGHT[sight] @ linear, 0, 1)
    root = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116)
    return np.array([116 * root[1] - 16, *(np.diff(-root) * [500, 200])])


@pytest.mark.slow
def test_twelve_servers_are_told_apart() -> None:
    made = made_runs.twelve_run([10.0, 50.0], [10, 50])
    series = make_series(made.cases, colours(one.server.kind for one in made.cases))
    servers = list({one.kind: one for one in series}.values())
    assert [one.letter for one in servers] == list("ABCDEFGHIJKL")
    assert len({one.server_colour for one in servers}) == 12
    for one, other in itertools.combinations(servers, 2):
        far = [np.linalg.norm(lab(one.server_colour, eyes) - lab(other.server_colour, eyes))
               for eyes in SIGHT]  # fmt: skip
        assert far[0] > 15
        assert one.marker != other.marker or min(far) > 15, (one.title, other.title)
    labels = [label for _, label in legend_handles(series)]
    assert labels == [one.server for one in servers] + ["buffer 10", "buffer 50"]

    what = sweep(percentile_panel(METRICS["p50"]), series, apart=0.01, marker=0.01)
    ends = sorted(endings(what, 0.07), key=lambda one: one.height)
    assert sorted(one.series.letter for one in ends) == list("ABCDEFGHIJKL")
    heights = [one.height for one in ends]
    assert all(b - a > 0.07 - 1e-9 for a, b in itertools.pairwise(heights))
    assert 0 <= heights[0] < heights[-1] <= 1
    times = [made_runs.NAMES[one.series.title] for one in ends]  # of a service, ms
    assert (times[0], times[-1]) == (3, 12)
    few = make_series(made_runs.one_rate_run().cases, colours(["torchserve", "tensorflow_serving"]))
    assert not any(one.letter for one in few)


@pytest.mark.slow
def test_servers_are_told_apart_without_colours() -> None:
    made = three_by_four_by_three()
    series = make_series(made.cases, colours(one.server.kind for one in made.cases))
    looks = {
        one.kind: {other.marker for other in series if other.kind == one.kind} for one in series
    }
    assert all(len(marks) == 1 for marks in looks.values())
    assert len(set().union(*looks.values())) == 3
    for one in series:
        lines = [other.line for other in series if other.kind == one.kind]
        assert len(set(lines)) == len(lines)


def test_servers_with_long_names_keep_their_buffers() -> None:
    made = strangely_named()
    series = make_series(made.cases, colours(one.server.kind for one in made.cases))
    labels = [one.label for one in series]
    assert len(set(labels)) == 4
    assert all(label.endswith(("buffer 0", "buffer 9")) for label in labels)


@pytest.mark.slow
def test_a_run_in_which_nothing_succeeded_says_so(drawn: Drawn) -> None:
    figures = drawn(made_runs.nothing_ok_run)
    (figure,) = (figures[path] for path in figures if path.name == "latency_distribution")
    assert [text for text, _ in texts(figure)].count("no request succeeded") == 2
