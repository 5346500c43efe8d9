"""Options in every form in which a configuration can write them, and when they are judged."""

import tomllib
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import OptionError
from pytest_servebench.plugin.option_reading import _read, read_option, read_settings
from pytest_servebench.plugin.options import OPTIONS, Option
from tests.conftest import RunBench

NATIVE = pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest 9 reads such tables")
TABLES = [
    pytest.param("pytest.toml", "[pytest]", marks=NATIVE),
    pytest.param("pyproject.toml", "[tool.pytest]", marks=NATIVE),
    ("pyproject.toml", "[tool.pytest.ini_options]"),
]

UNIT = "def test_unit(): pass\n"
VALUES = st.recursive(
    st.one_of(
        st.text(), st.integers(), st.floats(), st.booleans(), st.dates(), st.datetimes(), st.times()
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize(("file", "table"), TABLES)
@pytest.mark.parametrize(
    "lines",
    [
        {
            "servebench_rates = [20, 0.5, '3']": ("rates", (20.0, 0.5, 3.0)),
            "servebench_buffer_sizes = [0]": ("buffer_sizes", (0,)),
            "servebench_servers = ['a', 'b']": ("servers", ("a", "b")),
            "servebench_duration = 2.5": ("load.duration", 2.5),
            "servebench_timeout = '300ms'": ("load.timeout", 0.3),
            "servebench_plots = false": (
                "outputs", {"plots": False, "page": True, "markdown": None}
            ),
            "servebench_interleave = true": ("interleave", True),
            "servebench_baseline_allow = ['machine', 'schema']": (
                "baseline_allow", frozenset(("machine", "schema"))
            ),
            "servebench_save = 12": ("save", "12"),
            "servebench_capacity_range = [5, 200]": ("capacity_range", (5.0, 200.0)),
            "servebench_rows = [1, 8]": ("rows", (1, 8)),
        },
        {
            "servebench_rates = 7": ("rates", (7.0,)),
            "servebench_page = 0": ("outputs", {"plots": True, "page": False, "markdown": None}),
            "servebench_baseline_allow = []": ("baseline_allow", frozenset()),
        },
        {"servebench_rates = ['1,2', '3']": ("rates", (1.0, 2.0, 3.0))},
    ],
    ids=["types", "single", "texts"],
)  # fmt: skip
def test_values_may_have_the_types_of_toml(
    pytester: pytest.Pytester, file: str, table: str, lines: dict[str, tuple[str, object]]
) -> None:
    (pytester.path / file).write_text("\n".join([table, *lines]))
    settings = read_settings(pytester.parseconfig())
    for name, value in lines.values():
        assert attrgetter(name)(settings) == value


def test_a_list_may_have_a_line_for_each_value(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nservebench_rates =\n  3\n  4, 5\nservebench_server_cpus =\n  0\n")
    settings = read_settings(pytester.parseconfig())
    assert (settings.rates, settings.server.cpus) == ((3.0, 4.0, 5.0), (0,))


@pytest.mark.parametrize(("file", "table"), TABLES)
@pytest.mark.parametrize("slos", ["['p50<1s', 'p99<2s']", "'p50<1s'", "'''\np50<1s\np99<2s'''"])
def test_what_adds_up_is_a_list_or_lines(
    pytester: pytest.Pytester, file: str, table: str, slos: str
) -> None:
    (pytester.path / file).write_text(f"{table}\nservebench_slo = {slos}\n")
    config = pytester.parseconfig("--servebench-slo=drop_rate<5%")
    assert [str(slo) for slo in read_settings(config).slos] == [
        "p50<1s", *(["p99<2s"] if "p99" in slos else []), "drop_rate<5%"
    ]  # fmt: skip


UNUSABLE = {
    "duration": ("[3, 4]", "[3, 4]", "single value"),
    "buffer_sizes": ("[[1], [2]]", "[[1], [2]]", "a number"),
    "rates": ("[1, -2]", "[1, -2]", "above 0"),
    "page": ("'maybe'", "'maybe'", "true or false"),
    "warmup": ("true", "rue", "number"),
    "slo": ("[5]", "'5'"),
}


@pytest.mark.parametrize(("file", "table"), TABLES)
def test_a_value_of_the_configuration_that_cannot_be_used(
    pytester: pytest.Pytester, file: str, table: str
) -> None:
    lines = [f"servebench_{name} = {value}" for name, (value, *_) in UNUSABLE.items()]
    (pytester.path / file).write_text("\n".join([table, *lines]))
    config = pytester.parseconfig()
    for name, (_, *facts) in UNUSABLE.items():
        with pytest.raises(OptionError) as raised:
            read_option(config, name.replace("_", "-"))
        assert all(fact in str(raised.value) for fact in (f"servebench_{name}", *facts))


@pytest.mark.parametrize(("file", "table"), TABLES)
def test_the_command_line_comes_before_types_of_toml(
    pytester: pytest.Pytester, file: str, table: str
) -> None:
    (pytester.path / file).write_text(f"{table}\nservebench_rates = [1]\nservebench_seed = 5\n")
    config = pytester.parseconfig("--servebench-rates=2", "-o", "servebench_seed=6")
    settings = read_settings(config)
    assert (settings.rates, settings.load.seed) == ((2.0,), 6)


@given(value=VALUES)
def test_no_value_of_toml_is_more_than_a_wrong_option(value: Any) -> None:
    for option in OPTIONS:
        refused = option.ini
        try:
            _read(option, option.ini, value)
        except OptionError as error:
            refused = str(error)
        assert option.ini in refused


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_defaults_mean_the_same_as_text_and_in_toml(option: Option) -> None:
    if option.repeatable:
        assert _read(option, option.ini, []) == ()
        return
    meant = _read(option, option.ini, option.default)
    if option.many:
        assert _read(option, option.ini, option.default.split(",")) == meant
    if option.parts:
        assert _read(option, option.ini, option.default.split(option.parts)) == meant
    if option.default in ("true", "false") or option.default.isdigit():
        native = tomllib.loads(f"value = {option.default}")["value"]
        assert _read(option, option.ini, native) == meant


def test_the_last_of_several_values_counts(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naddopts = --servebench-rates=1 --servebench-rates=2\n")
    assert read_settings(pytester.parseconfig()).rates == (2.0,)
    assert read_settings(pytester.parseconfig("--servebench-rates=3")).rates == (3.0,)


# -- judged where there are loads -----------------------------------------------------------------

BAD = {
    "servers": "nosuch",
    "rates": "ten",
    "buffer_sizes": "-1",
    "server_cpus": "0-9999",
    "arrivals": "trace:not-there.csv",
    "slo": "p50<<3",
    "max_regression": "speed:5%",
    "exact_keywords": "perhaps",
    "priority": "high",
}


@pytest.mark.slow
def test_sessions_without_loads_do_not_mind_settings_of_loads(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_unit=UNIT, test_it="def test_load(model_server, poisson_load): raise ValueError"
    )
    given = [f"--servebench-{name.replace('_', '-')}={value}" for name, value in BAD.items()]
    chosen = (["test_unit.py"], ["-m", "not servebench"], [*given, "-k", "unit"])
    for arguments, settings in zip(chosen, [BAD, BAD, {}], strict=True):
        lines = [f"servebench_{name} = {value}" for name, value in settings.items()]
        pytester.makeini("\n".join(["[pytest]", *lines]))
        result = pytester.runpytest_inprocess("-p", "no:hypothesispytest", *arguments)
        assert result.ret == pytest.ExitCode.OK
        assert result.parseoutcomes()["passed"] == 1
    for argument, value in zip(given, BAD.values(), strict=True):
        refused = pytester.runpytest_inprocess("-p", "no:hypothesispytest", argument)
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        (line,) = [line for line in refused.stderr.lines if line.startswith("ERROR")]
        assert value in line
    assert not (pytester.path / "servebench_results").exists()


@pytest.mark.parametrize(
    "listing",
    ["--collect-only", "--fixtures", "--fixtures-per-test", "--markers", "--help", "--version"],
)
def test_what_lists_works_with_wrong_options_and_tells_them(
    run_bench: RunBench, listing: str
) -> None:
    result = run_bench(listing, "--servebench-rates=ten", test="def test_x(poisson_load): pass")
    assert result.ret == 0
    assert "INTERNALERROR" not in result.stdout.str()
    if "-" in listing[2:]:
        result.stdout.fnmatch_lines(["*--servebench-rates='ten'*"])


def test_a_selection_that_wrong_options_leave_empty_names_them(run_bench: RunBench) -> None:
    result = run_bench("-k", "rate10", "--servebench-rates=10,x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--servebench-rates='10,x'*"])


KIND = """
from tests.toy import ToyKind

def pytest_servebench_server_kinds(config):
    return [ToyKind("lower")]
"""


def test_a_hook_for_kinds_that_fails_is_named(run_bench: RunBench) -> None:
    result = run_bench(
        "--servebench-servers=toy",
        conftest="def pytest_servebench_server_kinds(config): raise RuntimeError('no such GPU')",
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pytest_servebench_server_kinds*no such GPU*"])


def test_a_kind_may_come_from_a_conftest_below_the_root(
    run_bench: RunBench, pytester: pytest.Pytester
) -> None:
    for folder in ("bench", "unit", "urls"):
        pytester.mkdir(folder)
    (pytester.path / "bench" / "conftest.py").write_text(KIND)
    (pytester.path / "bench" / "test_b.py").write_text(
        "def test_it(model_server): assert model_server.implementation == 'toy 1.0'\n"
    )
    (pytester.path / "unit" / "test_u.py").write_text(UNIT)
    (pytester.path / "urls" / "test_url.py").write_text("def test_url(rate, repeat): pass\n")
    ini = "servebench_servers=lower"
    run_bench("-o", ini, "unit", test="").assert_outcomes(passed=1)
    run_bench("--servebench-servers=lower", "bench", "unit", test="").assert_outcomes(
        passed=1, skipped=1
    )
    pytester.path.joinpath("bench", "conftest.py").unlink()
    for arguments in (["-o", ini], ["--servebench-servers=lower"]):
        refused = run_bench(*arguments, "bench", test="")
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        refused.stderr.fnmatch_lines(["*unknown server kind 'lower'*"])
