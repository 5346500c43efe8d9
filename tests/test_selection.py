"""``-k``: exact for load tests, and pytest's own for all others."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import RunBench

MIXED = """
import pytest

def test_load(model_server, poisson_load):
    poisson_load(model_server)

def test_rate7_alone(poisson_load):
    pass

@pytest.mark.rate20
def test_marked(poisson_load):
    pass

def test_buffer2_of_sound(): pass
def test_rate44100(): pass

@pytest.mark.parametrize("rate", [44100], ids=["rate44100x"])
def test_sound(rate): pass

class TestRate100:
    def test_method(self): pass
"""
CELLS = ("rate1-buffer2", "rate1-buffer20", "rate10-buffer2", "rate10-buffer20")


def names(result: pytest.RunResult) -> list[str]:
    """Return the names of the tests that were collected, without the toy server."""
    found = re.findall(r"^test_it\.py::(\S+)$", result.stdout.str(), re.MULTILINE)
    return [name.replace("toy-", "") for name in found]


def loads(*cells: str, of: str = "test_load") -> set[str]:
    return {f"{of}[{cell}]" for cell in cells}


OTHERS = {"test_buffer2_of_sound", "test_rate44100", "test_sound[rate44100x]",
          "TestRate100::test_method"}  # fmt: skip
EVERY_LOAD = {
    name for of in ("test_load", "test_rate7_alone", "test_marked") for name in loads(*CELLS, of=of)
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("buffer2 and not rate", {"test_buffer2_of_sound"}),
        ("not rate44100", EVERY_LOAD | {"test_buffer2_of_sound", "TestRate100::test_method"}),
        ("rate44100", {"test_rate44100", "test_sound[rate44100x]"}),
        ("rate4", {"test_rate44100", "test_sound[rate44100x]"}),
        ("not rate1 and test_load", loads(*CELLS[2:])),
        ("NOT_THERE or Rate10 and (BUFFER2 or buffer20) and test_load", loads(*CELLS[2:])),
        ("test_load and not (rate10 or buffer20)", loads(CELLS[0])),
        ("rate10 and not test_", set()),
        ("rate10 and TestRate100", {"TestRate100::test_method"}),  # a part, as pytest has it
        ("rate7", loads(*CELLS, of="test_rate7_alone")),
        ("rate20 and buffer2", loads(CELLS[0], CELLS[2], of="test_marked")),
        ("rate2", set()),
        ("test_load or rate44100", loads(*CELLS) | {"test_rate44100", "test_sound[rate44100x]"}),
    ],
)
def test_load_tests_are_selected_exactly_and_others_as_by_pytest(
    run_bench: RunBench, expression: str, expected: set[str]
) -> None:
    result = run_bench(
        "--collect-only", "-q", "-k", expression, "--servebench-rates=1,10",
        "--servebench-buffer-sizes=2,20", "-W", "ignore", test=MIXED,
    )  # fmt: skip
    assert set(names(result)) == expected
    selected, total = len(expected), len(EVERY_LOAD | OTHERS)
    shown = f"{selected}/{total} tests collected ({total - selected} deselected)"
    assert (shown if selected else f"({total} deselected)") in result.stdout.str()


def test_the_expression_is_everybody_else_s(run_bench: RunBench) -> None:
    conftest = """
    def pytest_sessionstart(session): print("before:", session.config.option.keyword)
    def pytest_collection_finish(session):
        print("after:", session.config.option.keyword)
        print("extra:", sorted(set().union(*(i.extra_keyword_matches for i in session.items))))
    """
    result = run_bench("--collect-only", "-q", "-s", "-k", "not rate10", conftest=conftest)
    result.stdout.fnmatch_lines(["before: not rate10", "after: not rate10", "extra: []"])


def test_goes_with_other_selections(run_bench: RunBench) -> None:
    result = run_bench(
        "--collect-only", "-q", "-k", "not rate10", "-m", "servebench(buffer=2)",
        "--deselect=test_it.py::test_marked", "--servebench-rates=1,10,100",
        "--servebench-buffer-sizes=2,20", "-W", "ignore", test=MIXED,
    )  # fmt: skip
    expected = {"rate1-buffer2", "rate100-buffer2"}
    assert set(names(result)) == loads(*expected) | loads(*expected, of="test_rate7_alone")


def test_goes_with_last_failed(run_bench: RunBench) -> None:
    options = ("--servebench-rates=1,10,100", "--collect-only", "-q")
    run_bench(*options)
    cache = Path(".pytest_cache/v/cache/lastfailed")
    cache.parent.mkdir(parents=True, exist_ok=True)
    failed = [f"test_it.py::test_load[toy-rate{rate}-buffer10]" for rate in (10, 100)]
    cache.write_text(json.dumps(dict.fromkeys(failed, True)))
    assert names(run_bench(*options, "--lf", "-k", "not rate10")) == ["test_load[rate100-buffer10]"]


def test_a_wrong_expression_is_shown_as_it_was_written(run_bench: RunBench) -> None:
    result = run_bench("--collect-only", "-k", "rate10 rate20")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*Wrong expression passed to '-k': rate10 rate20: at column 8*"])


def test_what_it_means_is_said_of_load_tests_alone(run_bench: RunBench) -> None:
    taken = "servebench: -k 'rate10' means*"
    unit = "def test_rate10(): pass"
    run_bench("-k", "rate10", test=unit).stdout.no_fnmatch_line(taken)
    options = ("--collect-only", "-k", "rate10", "--servebench-rates=10")
    run_bench(*options).stdout.fnmatch_lines([taken])
    run_bench(*options, "-q").stdout.no_fnmatch_line(taken)


@pytest.mark.slow
def test_unit_tests_are_shared_out_as_ever(run_bench: RunBench) -> None:
    pytest.importorskip("xdist")
    test = "def test_rate100(): pass\ndef test_rate10(): pass\ndef test_other(): pass"
    result = run_bench("-n", "1", "-k", "rate10", test=test, subprocess=True)
    result.assert_outcomes(passed=2)
