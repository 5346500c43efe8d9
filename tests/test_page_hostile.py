"""Pages of runs whose names and texts would be code."""

import dataclasses
from pathlib import Path

from pytest_servebench.analysis.comparability import differences
from pytest_servebench.analysis.compare import compare
from pytest_servebench.report.page import comparison_page, page
from pytest_servebench.runs.results import CaseResult, ClauseResult
from tests.pages import check
from tests.report import made_runs

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}\u202eevil\u2066"
SHOWN = EVIL.replace("\u202e", "?").replace("\u2066", "?")


def hostile_case() -> CaseResult:
    case = made_runs.case(made_runs.TORCHSERVE, 20.0)
    server = dataclasses.replace(
        case.server, title=f"t{EVIL}", implementation=f"i{EVIL}", base_url=f"u{EVIL}",
        protocol=f"p{EVIL}", kind=f"k{EVIL}",
    )  # fmt: skip
    clause = ClauseResult(f"c{EVIL}", "p99", 0.05, 0.06, 0.055, 0.07, "failed", f"m{EVIL}")
    return dataclasses.replace(
        case, name=f"n{EVIL}[x{EVIL}]", nodeid=f"d{EVIL}::n", server=server, clauses=(clause,),
        verdict="failed", failures={f"b{EVIL}": 3}, model=f"o{EVIL}", input_source=f"s{EVIL}",
    )  # fmt: skip


def test_texts_from_outside_are_shown_as_texts(tmp_path: Path) -> None:
    run = made_runs.run([hostile_case(), made_runs.invalid(hostile_case())])
    run = dataclasses.replace(
        run, name=f"r{EVIL}", machine={"cpu": f"q{EVIL}", "cores": EVIL},
        versions={f"v{EVIL}": f"w{EVIL}"},
    )  # fmt: skip
    report = run.to_dict()
    report[f"e{EVIL}"] = f"f{EVIL}"
    report["nested"] = {"g": [f"h{EVIL}"]}
    report["cases"][0][f"y{EVIL}"] = f"z{EVIL}"
    text = page(run, tmp_path, report)
    found = check(text)
    for letter in "tipxodcmbsrqvwefyz":
        assert letter + SHOWN in found.text, letter
    assert not found.named("img")
    assert "\u202e" not in text
    assert "\u2066" not in text


def test_hostile_runs_make_a_page_of_their_comparison(tmp_path: Path) -> None:
    run = made_runs.run([hostile_case()])
    run = dataclasses.replace(run, name=EVIL)
    text = comparison_page([(compare(run, run), differences(run, run), ())], tmp_path, [tmp_path])
    found = check(text)
    assert SHOWN in found.text
    assert not found.named("img")
