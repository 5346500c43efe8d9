"""Rates, buffer sizes and fixtures of a test's own, and loads that pytest does not see coming."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.plugin.option_values import BUFFER_SIZE, RATE, number_of
from tests.conftest import RunBench
from tests.results import saved_run

# A load without a load: what the fixture was given is all that is asked here.
SHOWN = """
import pytest, unittest

@pytest.fixture
def shown(request):
    load = request.getfixturevalue("poisson_load")
    cell = load.cell
    print(f"cell: {request.node.name} {cell.rate!r} {cell.buffer_size!r} {cell.repeat!r}")

"""


def cells(result: pytest.RunResult) -> dict[str, str]:
    """Return what each test's fixture was given, by the test's name."""
    found = (line.partition("cell: ")[2] for line in result.outlines if "cell: " in line)
    return {name: values for name, _, values in (line.partition(" ") for line in found)}


@given(st.one_of(st.floats(1e-6, 1e9), st.integers(1, 10**9), st.fractions(1, 100)))
def test_numbers_of_all_kinds_are_rates(value: Any) -> None:
    assert number_of(RATE, value) == pytest.approx(float(value))
    assert number_of(RATE, Decimal(str(float(value)))) == float(value)


@pytest.mark.parametrize(
    "value",
    [20, 20.0, "20", np.int32(20), np.float32(20), np.float64(20), Decimal(20), Fraction(20)],
    ids=repr,
)
def test_whole_numbers_of_all_kinds_are_buffer_sizes(value: Any) -> None:
    found = number_of(BUFFER_SIZE, value)
    assert found == 20
    assert type(found) is int


NAN = float("nan")
WRONG_RATES = [0, -1, NAN, float("inf"), True, np.bool_(True), "fast", None, [10], b"10",
               Decimal("NaN"), Decimal("sNaN"), 10**400, 1j, np.array([1, 2])]  # fmt: skip


@pytest.mark.parametrize("value", WRONG_RATES, ids=lambda value: repr(value)[:20])
def test_what_is_no_rate(value: Any) -> None:
    with pytest.raises(ValueError, match="requests per second above 0"):
        number_of(RATE, value)


@pytest.mark.parametrize("value", [2.5, -1, NAN, False, "x", None, Fraction(1, 2)], ids=repr)
def test_what_is_no_buffer_size(value: Any) -> None:
    with pytest.raises(ValueError, match="a number of requests, 0 or more"):
        number_of(BUFFER_SIZE, value)


def test_a_test_s_own_values_are_checked(run_bench: RunBench) -> None:
    test = f"""{SHOWN}
import numpy as np

@pytest.mark.parametrize("rate", [7, np.float32(0.5), "9", pytest.param(3, id="three")])
def test_good(shown, poisson_load): pass

@pytest.mark.parametrize("buffer_size", [np.int64(4), 5.0])
def test_buffers(shown, poisson_load): pass

@pytest.mark.parametrize("rate", [0, "fast", True, float("nan")])
def test_rate(shown, poisson_load): pass

@pytest.mark.parametrize("buffer_size", [2.5, -1, None])
def test_buffer(shown, poisson_load): pass

@pytest.mark.parametrize("rate", ["x"], indirect=True)
def test_indirect(shown, poisson_load): pass
"""
    result = run_bench(test=test, subprocess=False)
    result.assert_outcomes(passed=6, errors=8)
    result = run_bench("-s", "-k", "good or buffers", test=test)
    assert cells(result) == {
        "test_good[buffer10-7]": "7 10 1",
        "test_good[buffer10-rate1]": "0.5 10 1",
        "test_good[buffer10-9]": "9.0 10 1",
        "test_good[buffer10-three]": "3 10 1",
        "test_buffers[rate40-buffer_size0]": "40.0 4 1",
        "test_buffers[rate40-5.0]": "40.0 5 1",
    }


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("@pytest.mark.parametrize('rate', [0])", ("rate=0", "above 0", "own parameters")),
        ("@pytest.mark.parametrize('buffer_size', [2.5])", ("buffer_size=2.5", "0 or more")),
        ("@pytest.mark.servebench(rate=10)", ("does not take rate", "did you mean rates=[10]?")),
        ("@pytest.mark.servebench(rates=[5, 5.0])", ("rates=[5, 5.0]", "twice")),
        ("@pytest.mark.servebench(rates=[True])", ("rates=[True]", "above 0")),
        ("@pytest.mark.servebench(buffer_sizes=[])", ("buffer_sizes=[]", "at least one")),
        (
            "@pytest.mark.parametrize('x', [pytest.param(1, "
            "marks=pytest.mark.servebench(rates=[9]))])",
            ("pytest.param", "rates"),
        ),
        (
            "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.slo('p99'))])",
            ("@pytest.mark.slo", "p99"),
        ),
    ],
)
def test_messages_name_test_value_and_remedy(
    run_bench: RunBench, line: str, facts: tuple[str, ...]
) -> None:
    extra = ", x" if "'x'" in line else ""
    test = f"import pytest\n{line}\ndef test_mine(poisson_load{extra}): pass"
    result = run_bench(test=test)
    text = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in text
    for fact in ("test_it.py::test_mine", *facts):
        assert fact in text
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.USAGE_ERROR)


def test_markers_take_what_python_has(run_bench: RunBench) -> None:
    test = f"""{SHOWN}
import numpy as np

@pytest.mark.servebench(rates=np.arange(2, 4), buffer_sizes=range(1, 3))
def test_mine(shown, poisson_load): pass

@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.servebench(duration=0.1), id="y")])
def test_param(shown, poisson_load, x): pass
"""
    result = run_bench("-s", test=test)
    assert {*cells(result)} == {
        "test_mine[rate2-buffer1]", "test_mine[rate2-buffer2]", "test_mine[rate3-buffer1]",
        "test_mine[rate3-buffer2]", "test_param[rate40-buffer10-y]",
    }  # fmt: skip


USER_FIXTURES = {
    "params": ("@pytest.fixture(params=[20, 30])\ndef rate(request): return request.param",
               {"test_x[20-buffer10]": "20 10 1", "test_x[30-buffer10]": "30 10 1"}),
    "hook": ("def pytest_generate_tests(metafunc):\n"
             "    if 'rate' in metafunc.fixturenames: metafunc.parametrize('rate', [20])",
             {"test_x[20-buffer10]": "20 10 1"}),
    "indirect": ("def pytest_generate_tests(metafunc):\n"
                 "    if 'buffer_size' in metafunc.fixturenames:\n"
                 "        metafunc.parametrize('buffer_size', [3], indirect=True)",
                 {"test_x[3-rate40]": "40.0 3 1"}),
    "value": ("@pytest.fixture\ndef rate(): return 44",
              {"test_x[buffer10]": "44 10 1"}),
    "class": ("@pytest.fixture(scope='module', params=[6], ids=['six'])\n"
              "def buffer_size(request): return request.param",
              {"test_x[six-rate40]": "40.0 6 1"}),
    "repeat": ("@pytest.fixture\ndef repeat(): return 'no number'",
               {"test_x[rate40-buffer10]": "40.0 10 1"}),
    "same": ("@pytest.fixture\ndef rate(rate): return rate",
             {"test_x[rate40-buffer10]": "40.0 10 1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", USER_FIXTURES)
def test_fixtures_of_the_user_s_own_give_the_values(run_bench: RunBench, name: str) -> None:
    conftest, expected = USER_FIXTURES[name]
    test = SHOWN + "def test_x(shown, poisson_load): pass"
    result = run_bench("-s", test=test, conftest=f"import pytest\n{conftest}")
    result.assert_outcomes(passed=len(expected))
    assert cells(result) == expected


@pytest.mark.parametrize(
    ("conftest", "options", "facts"),
    [
        ("def rate(rate): return 2 * rate", (), ("rate=80.0", "40.0", "--servebench-rates")),
        ("def rate(): return 'much'", (), ("rate='much'", "conftest.rate", "above 0")),
        ("def repeat(): return 7", ("--servebench-repeats=2",),
         ("--servebench-repeats=2", "conftest.repeat", "rename")),
        ("def served_model(): return 1", (), ("conftest.served_model", "servebench_model")),
    ],
)  # fmt: skip
def test_fixtures_that_cannot_be_used_are_named(
    run_bench: RunBench, conftest: str, options: tuple[str, ...], facts: tuple[str, ...]
) -> None:
    test = "def test_x(model_server, poisson_load): pass"
    conftest = f"import pytest\n@pytest.fixture\n{conftest}"
    result = run_bench(*options, test=test, conftest=conftest)
    result.assert_outcomes(errors=1)
    for fact in facts:
        assert fact in result.stdout.str()


def test_unrelated_tests_may_have_fixtures_of_all_our_names(run_bench: RunBench) -> None:
    names = ("rate", "buffer_size", "repeat", "model_server", "served_model", "torchserve",
             "tensorflow_serving", "poisson_load")  # fmt: skip
    conftest = "import pytest\n" + "".join(
        f"@pytest.fixture\ndef {name}(): return {name!r}\n" for name in names
    )
    test = "import pytest\n" + "".join(
        f"def test_{name}({name}): assert {name} == {name!r}\n" for name in names
    )
    test += "".join(
        f"@pytest.mark.parametrize('{name}', ['a'])\ndef test_own_{name}({name}): pass\n"
        for name in names
    )
    result = run_bench("-v", "--servebench-rates=1,2", test=test, conftest=conftest)
    result.assert_outcomes(passed=2 * len(names))
    assert not Path("servebench_results").exists()
    result.stdout.no_fnmatch_line("*model_server[[]*toy*")


UNSEEN = f"""{SHOWN}
class TestCase(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _load(self, poisson_load, model_server):
        self.load, self.server = poisson_load, model_server

    def test_case(self):
        self.load(self.server)

@pytest.mark.usefixtures("shown")
class TestLate(unittest.TestCase):
    def test_late(self): pass

@pytest.mark.slo("p50<1us")
def test_dynamic(request):
    request.getfixturevalue("poisson_load")(request.getfixturevalue("model_server"))

@pytest.mark.servebench(rates=[15], buffer_sizes=[3])
def test_marked(shown): pass

@pytest.mark.usefixtures("poisson_load")
def test_used(shown): pass
"""


def test_loads_that_pytest_does_not_see_coming(run_bench: RunBench) -> None:
    result = run_bench("-s", "--servebench-max-lag=5000", test=UNSEEN)
    result.assert_outcomes(passed=4, failed=1)
    assert cells(result) == {
        "test_late": "40.0 10 1", "test_marked": "15.0 3 1",
        "test_used[rate40-buffer10]": "40.0 10 1",
    }  # fmt: skip
    _, run = saved_run()
    found = {
        case["name"]: (case["verdict"], case["test_outcome"], case["rate"])
        for case in run["servebench"]["cases"]
    }
    assert found == {
        "test_case": ("passed", "passed", 40), "test_dynamic": ("failed", "failed", 40)
    }  # fmt: skip
    assert run["servebench"]["not_measured"] == 3
    assert {bench["name"] for bench in run["benchmarks"]} == set(found)


@pytest.mark.parametrize(
    "test",
    [
        SHOWN + UNSEEN[UNSEEN.index("class TestCase") : UNSEEN.index("@pytest.mark.usefixtures")],
        "def test_it(served_model): pass",
    ],
)
def test_tests_that_are_not_generated_meet_wrong_options_before_anything_starts(
    run_bench: RunBench, test: str
) -> None:
    result = run_bench("--servebench-duration=long", test=test)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--servebench-duration='long'" in result.stderr.str()


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--servebench-rates=5,7.5",), ("5, 7.5", "servebench(rates=", "--servebench-rates=")),
        (("--servebench-buffer-sizes=1,2",), ("1, 2", "--servebench-buffer-sizes=")),
        (("--servebench-servers=toy,toy2",), ("toy, toy2", "--servebench-servers=")),
    ],
)
def test_several_values_that_pytest_cannot_make_tests_of(
    run_bench: RunBench, options: tuple[str, ...], facts: tuple[str, ...]
) -> None:
    result = run_bench(*options, test=UNSEEN, subprocess=False)
    text = " ".join(result.stdout.str().split())
    assert "has no attribute" not in text
    for fact in facts:
        assert fact in text
    assert result.ret == pytest.ExitCode.TESTS_FAILED
