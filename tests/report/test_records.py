"""Records for drawings: what cannot be read is named, and ends no report."""

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_servebench.report.percentile_curves import percentile_curve
from pytest_servebench.report.plots import draw_plots
from pytest_servebench.runs.case_records import read_records
from pytest_servebench.runs.results import CaseResult
from tests.report import made_runs


def unreadable(tmp_path: Path) -> dict[str, CaseResult]:
    """Return cases whose records cannot be read, by the reason."""
    (tmp_path / "damaged.npz").write_bytes(b"no zip file")
    reasons = {
        "": "none were saved",
        "records/1.npz": "records/1.npz is missing",
        "damaged.npz": "damaged.npz cannot be read: it is damaged",
        "x" * 300: f"{'x' * 300} cannot be read: File name too long",
    }
    return {
        reason: dataclasses.replace(made_runs.case(rate=5.0 * i), records=None, records_file=name)
        for i, (name, reason) in enumerate(reasons.items(), start=1)
    }


def test_what_cannot_be_read_has_a_reason(tmp_path: Path) -> None:
    for reason, case in unreadable(tmp_path).items():
        assert read_records(case, tmp_path) == (None, reason)


@pytest.mark.slow
def test_what_cannot_be_read_is_left_out_of_plots(tmp_path: Path) -> None:
    cases = list(unreadable(tmp_path).values())
    draw_plots(made_runs.run(cases), tmp_path)
    caption = " ".join(
        ET.parse(tmp_path / "plots" / "latency_distribution.svg").getroot().itertext()
    )
    left_out = " ".join(caption.split()).partition("Left out")[2]
    assert all(f"{case.rate:g}/s" in left_out for case in cases)


@pytest.mark.parametrize("way", ["absolute", "..", "link", "linked directory", "loop"])
def test_records_that_lie_elsewhere_are_not_read(way: str, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run.mkdir()
    case = made_runs.case()
    assert case.records is not None
    case.records.save(elsewhere / "1.npz")
    (run / "link.npz").symlink_to(elsewhere / "1.npz")
    (run / "records").symlink_to(elsewhere)
    (run / "loop.npz").symlink_to("loop.npz")
    names = {
        "absolute": str(elsewhere / "1.npz"), "..": "../elsewhere/1.npz", "link": "link.npz",
        "linked directory": "records/1.npz", "loop": "loop.npz",
    }  # fmt: skip
    case = dataclasses.replace(case, records=None, records_file=names[way])
    assert read_records(case, run) == (None, f"{names[way]} cannot be read: it is damaged")
    # A directory of results may be a link itself.
    (tmp_path / "mounted").symlink_to(elsewhere)
    case = dataclasses.replace(case, records_file="1.npz")
    assert read_records(case, tmp_path / "mounted")[1] == ""


def test_records_are_those_in_memory_or_in_the_directory(tmp_path: Path) -> None:
    case = made_runs.case()
    records = case.records
    assert records is not None
    assert read_records(case, tmp_path) == (records, "")
    records.save(tmp_path / "1.npz")
    case = dataclasses.replace(case, records=None, records_file="1.npz")
    found, reason = read_records(case, tmp_path)
    assert found is not None
    assert reason == ""
    assert found.latency().tolist() == records.latency().tolist()


def test_without_records_the_known_percentiles_are_the_curve() -> None:
    case = made_runs.case(rate=100.0)
    shares, latencies = percentile_curve(case, None)
    assert shares.round(3).tolist() == [0.5, 0.1, 0.05, 0.01, 0.001]
    values = [case.summary.estimates[name].value for name in ("p50", "p90", "p95", "p99", "p999")]
    assert latencies.tolist() == [1e3 * value for value in values if value is not None]
    every, _ = percentile_curve(case, case.records)
    assert 5 < len(every) <= 310
