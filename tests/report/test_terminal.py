import dataclasses
import io
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pytest_servebench.load.device import Generator
from pytest_servebench.load.turns import SessionCounts
from pytest_servebench.report.attention import attention_lines
from pytest_servebench.report.case_details import case_facts
from pytest_servebench.report.evaluation_block import evaluation_lines
from pytest_servebench.report.facts import fairness_texts, headline, setup_text, traffic_text
from pytest_servebench.report.markdown import markdown
from pytest_servebench.report.summary_text import summary_text
from pytest_servebench.report.terminal import report_lines, write_tables
from pytest_servebench.runs.results import (
    CaseResult,
    ClauseResult,
    ClauseSort,
    Resources,
    Run,
    ServerDeath,
    ServerInfo,
)
from pytest_servebench.stats.estimates import Distribution, Estimate, Summary
from pytest_servebench.text.safe import display_width, joined
from pytest_servebench.text.tables import Line, plain_text
from tests.examples import examples
from tests.report import made_runs
from tests.report.made_runs import OTHER, TORCHSERVE, case, invalid, run

RUNS: tuple[Callable[[], Run], ...] = (
    made_runs.default_run,
    made_runs.overloaded_run,
    made_runs.single_run,
    made_runs.nothing_ok_run,
    made_runs.no_arrivals_run,
    made_runs.attached_run,
    made_runs.all_invalid_run,
    made_runs.hostile_run,
)


def text_of(made: Run, width: int = 100, *, unicode: bool = True) -> str:
    return "\n".join(plain_text(one) for one in report_lines(made, width=width, unicode=unicode))


@pytest.mark.parametrize(
    ("of_sessions", "part"),
    [
        ([False, False], "poisson, "),
        ([True, True], "poisson sessions whose"),
        ([True, False], "poisson requests or sessions whose"),
    ],
)
def test_the_head_says_which_loads_were_of_sessions(of_sessions: list[bool], part: str) -> None:
    counts = SessionCounts(1, 1, 0, 0, 1, 0, 0)
    one = made_runs.default_run().cases[0]
    assert part in traffic_text(replace(one, sessions=counts if of else None) for of in of_sessions)


def check_lines(lines: list[Line], width: int) -> None:
    for one in lines:
        shown = plain_text(one)
        assert display_width(shown) <= width, shown
        assert shown.isprintable() or not shown, shown


def test_a_label_is_shown_even_if_it_distinguishes_nothing() -> None:
    only = dataclasses.replace(case(), label="warm")
    assert "::warm" in text_of(run([only]))
    assert "::warm" in markdown(run([only]))


def test_a_share_of_no_arrivals_is_unknown() -> None:
    facts = dict(case_facts(made_runs.no_arrivals_run().cases[0]))
    assert facts["success rate"] == "unknown"
    assert facts["throughput"].startswith("0/s")


@pytest.mark.parametrize("make", RUNS, ids=lambda make: make.__name__)
def test_no_line_is_wider_than_the_terminal(make: Callable[[], Run]) -> None:
    made = make()
    for width, unicode in itertools.product((40, 60, 80, 100), (True, False)):
        for verbosity in (-1, 0, 1) if width in (40, 100) else (1,):  # which has the others' lines
            lines = report_lines(made, width=width, unicode=unicode, verbosity=verbosity)
            check_lines(lines, width)
            assert unicode or all(plain_text(one).isascii() for one in lines)


def test_a_run_without_cases_is_said_to_be_one() -> None:
    check_lines(report_lines(run([])), 100)


# -- what a reader finds ----------------------------------------------------------------------


def test_the_headline_names_what_was_measured() -> None:
    text = text_of(made_runs.default_run())
    for part in (
        "savedmodel-server 0.1.0 (TensorFlow 2.21.0)",
        "TorchServe 0.12.0",
        "fashion_mnist",
        "3f2a91c07d4e",
        "16 test images of Fashion-MNIST",
        "CPUs 0-1, 1 thread, 1 worker",
        "AMD EPYC 7B13, 2 processors, 8 GiB",
        "timerfd",
        "SCHED_FIFO 1",
        "lag p99",
    ):
        assert part in text


def test_each_table_names_the_implementations() -> None:
    made = made_runs.default_run()
    text = text_of(made)
    tables = len({one.rate for one in made.cases})
    before, _, evaluation = text.partition("overall evaluation")
    assert before.count("savedmodel-server 0.1.0") == tables + 1  # and the headline
    assert "savedmodel-server 0.1.0" in evaluation


def test_the_start_of_a_server_is_told_once() -> None:
    text = text_of(made_runs.default_run())
    assert text.count("ready in 4.21 s, 372 MB at rest\n") == 1
    assert "MB: memory of the server (PSS)" in text
    again = dataclasses.replace(
        TORCHSERVE, start_seconds=13.0, rest_memory=1.2e9, rest_measure="rss"
    )
    restarted = text_of(run([case(TORCHSERVE), case(again, 20.0)]))
    assert "ready in 12.4 s and 13 s, 811 MB and 1.2 GB at rest (RSS)" in restarted
    assert "ready in" not in text_of(made_runs.all_attached_run())
    details = summary_text(made_runs.default_run())
    assert "MB (RSS), 377 MB (PSS)" in " ".join(details.split())


def test_memory_is_rss_if_pss_is_not_known_of_every_server() -> None:
    one = case()
    unknown = dataclasses.replace(one.resources, pss_before=None, pss_after=None)
    mixed = text_of(run([one, dataclasses.replace(case(TORCHSERVE), resources=unknown)]))
    assert "MB: peak resident memory of the server" in mixed


def test_an_implementation_that_is_too_long_goes_on_below() -> None:
    lines = text_of(made_runs.default_run(), 60).splitlines()
    place = lines.index("TensorFlow Serving")
    assert lines[place + 1] == "  savedmodel-server 0.1.0 (TensorFlow 2.21.0)"


def test_a_server_that_is_named_by_its_address_is_named_once() -> None:
    url = "http://127.0.0.1:8000"
    server = replace(OTHER, kind=url, title=f"server at {url}", implementation=f"server at {url}",
                     base_url=url, threads=None, workers=None)  # fmt: skip
    text = text_of(run([case(server)]))
    assert text.count(f"server at {url}") == 2  # once among the facts, once in the table
    named = replace(server, kind="mine", title="mine", implementation="mine")
    lines = text_of(run([case(named)])).splitlines()
    assert f"server    mine at {url}, Other REST" in lines
    assert "mine" in lines


def test_of_many_servers_those_that_differ_are_named() -> None:
    many = [replace(TORCHSERVE, kind=f"t{n}", title=f"T{n}") for n in range(6)]
    many[2] = replace(many[2], workers=2)
    lines = fairness_texts(run([case(server) for server in many]))
    assert [line.partition(":")[0] for line in lines[1:]] == ["T2", "the other 5"]
    assert "2 workers" in lines[1]
    few = fairness_texts(run([case(server) for server in many[:3]]))
    assert [line.partition(":")[0] for line in few[1:]] == ["T0, T1", "T2"]


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ((case(), case(replace(TORCHSERVE, threads=2))), "NOT the same for all servers"),
        ((case(), replace(case(TORCHSERVE), weights_sha256="f" * 64)), "NOT the same in all cases"),
        ((case(), case(seed=2)), "buffer 10 #2"),
        ((case(TORCHSERVE), case(replace(TORCHSERVE, kind="torchserve2"))),
         "TorchServe (torchserve2)"),
        ((replace(case(), generator=replace(case().generator, arrivals_plausible=False)),),
         "NOT plausibly poisson"),
    ],
    ids=["settings", "weights", "repeats", "titles", "arrivals"],
)  # fmt: skip
def test_what_is_unlike_is_told(cases: tuple[CaseResult, ...], told: str) -> None:
    assert told in text_of(run(cases))


def test_percentiles_of_too_few_requests_are_bracketed() -> None:
    rows = text_of(run([case(rate=1.0)])).splitlines()
    row = next(line for line in rows if line.startswith("  buffer 10"))
    assert row.count("(") == 2  # p95 and p99 of a dozen requests, not p50
    legend = "too few independent requests for this percentile; the true value may be far higher."
    assert f"(x): {legend}" in " ".join(" ".join(rows).split())


def test_a_failed_request_is_infinitely_slow_and_the_successes_stand_below() -> None:
    text = text_of(run([case(rate=50.0, duration=30.0, error_share=0.1)]))
    row, successes = (
        next(line for line in text.splitlines() if line.startswith(f"  {start}"))
        for start in ("buffer 10", "└ successes")
    )
    assert "∞" in row
    assert "∞" not in successes
    assert "infinitely slow" in text


def test_only_what_is_there_is_explained() -> None:
    nothing = text_of(made_runs.nothing_ok_run())
    assert "(x)" not in nothing
    assert "infinitely slow (∞)." in nothing
    assert "in the row below" not in nothing
    fine = text_of(run([case(rate=100.0, duration=60.0)]))
    assert not [word for word in ("(x)", "infinitely", "INVALID", "inconclusive") if word in fine]
    assert "(x)" in text_of(made_runs.single_run())


@pytest.mark.parametrize("share", [0.001, 0.2])
def test_the_sign_of_infinity_is_explained_where_it_is(share: float) -> None:
    text = text_of(run([case(rate=100.0, duration=60.0, error_share=share)]))
    table, _, legend = text.partition("p50 to p99: ")
    assert "in the row below" in legend
    assert ("∞" in table) == ("(∞)" in legend) == (share > 0.01)


def test_verdicts_that_are_not_good_come_before_the_numbers() -> None:
    text = text_of(made_runs.overloaded_run())
    assert text.index("INVALID: the measuring device failed") < text.index("FAILED: the SLO")
    assert text.index("FAILED: the SLO") < text.index("inconclusive: the measurement")
    assert text.index("inconclusive: the measurement") < text.index("rate 10/s ")
    assert "worst 31.2 ms" in text


@pytest.mark.parametrize(
    ("sorts", "said"),
    [
        (["slo"], "the SLO is broken ("),
        (["gate"], "the gate against the baseline failed ("),
        (["successes", "gate"], "the gate against the baseline failed or no request succeeded ("),
        (["answers"], "too many answers are wrong ("),
    ],
)
def test_what_failed_a_case_is_named(sorts: list[ClauseSort], said: str) -> None:
    clauses = tuple(
        ClauseResult("c", "p99", 1.0, 2.0, None, None, "failed", "c: broken", sort)
        for sort in sorts
    )
    made = run([replace(case(), clauses=clauses, verdict="failed")])
    assert f"FAILED: {said}" in "\n".join(map(plain_text, attention_lines(made, 200)))


def test_dead_servers_and_what_they_cost_come_first() -> None:
    died = ServerDeath("toy", "Toy 1.0", "a.py::test_a[toy-rate5]", "it ended: 3", "servers/toy/a")
    again = replace(died, test="a.py::test_a[toy-rate9]", log_file="servers/toy/2/a")
    other = ServerDeath("far", "Far", "a.py::test_b", "refuses\x1b[2J", "")
    made = replace(made_runs.overloaded_run(), deaths=(died, other, again), not_measured=2)
    assert plain_text(attention_lines(made, 200)[0]) == (
        "Toy 1.0 died 2 times: it ended: 3; found in toy-rate5, toy-rate9; logs: servers/toy/a, "
        "servers/toy/2/a"
    )
    assert (
        plain_text(attention_lines(made, 200)[1]) == "Far died: refuses?[2J; found in a.py::test_b"
    )
    assert plain_text(attention_lines(made, 200)[2]) == "not measured: 2 selected cases"
    text = text_of(made)
    assert text.index("Toy 1.0 died") < text.index("INVALID: the measuring device failed")
    assert "Toy 1.0 died" in summary_text(made)
    assert r"Toy 1.0 died 2 times" in markdown(made)


def test_success_is_100_only_where_nothing_failed() -> None:
    one = case(rate=100.0)
    summary = replace(one.summary, success_rate=0.99999)
    text = text_of(run([replace(one, summary=summary)]))
    assert "100.0" not in text
    assert "99.9" in text


def test_an_attached_server_has_no_processor_and_no_memory() -> None:
    text = text_of(made_runs.all_attached_run())
    assert "attached: its processors, threads and workers are unknown" in text
    row = next(line for line in text.splitlines() if line.startswith("  buffer 10"))
    assert row.split()[-4:-2] == ["-", "-"]


def test_a_narrow_terminal_keeps_the_verdict_and_the_tail() -> None:
    text = text_of(made_runs.overloaded_run(), 60)
    assert "verdict" in text
    assert "p99" in text
    assert "too narrow" in text
    assert "too narrow" not in text_of(made_runs.overloaded_run(), 200)


def test_a_terminal_of_forty_columns_keeps_what_decides() -> None:
    text = text_of(made_runs.overloaded_run(), 40)
    row = next(line for line in text.splitlines() if line.startswith("rate 100/s"))
    assert row.split()[2:] == ["verdict", "p50", "p99"]


def test_quiet_is_what_is_not_good_and_the_tables() -> None:
    made = made_runs.overloaded_run()
    lines = report_lines(made, verbosity=-1)
    text = "\n".join(map(plain_text, lines))
    assert text.startswith("INVALID")
    for part in ("rate 100/s", "FAILED", "savedmodel-server 0.1.0", "verdict"):
        assert part in text
    for part in ("AMD EPYC", "waiting included", "overall evaluation"):
        assert part not in text
    assert len(lines) < len(report_lines(made))


def test_verbose_tells_everything_of_each_case() -> None:
    made = made_runs.overloaded_run()
    text = "\n".join(plain_text(one) for one in report_lines(made, verbosity=1))
    for one in made.cases:
        assert f"\n{one.nodeid}\n" in text
        for clause in one.clauses:
            assert clause.message.partition(":")[2][:30] in text
    for part in ("queue wait", "service time", "generator lag", "longest pause", "error_status"):
        assert text.count(part) >= len(made.cases)
    assert text.index("queue wait") < text.index("rate 100/s")  # the tables stay in sight
    assert text.endswith(text_of(made)[-500:])


def test_a_part_of_a_run_is_not_evaluated() -> None:
    lines = report_lines(made_runs.default_run(), evaluated=False)
    assert "overall evaluation" not in "\n".join(map(plain_text, lines))


def test_parameters_of_a_test_s_own_and_labels_tell_cases_apart() -> None:
    cases = [
        replace(case(), nodeid=f"test_it.py::test_it[{own}{case().server.kind}]")
        for own in ("8-", "16-", "8-")
    ]
    cases[2] = replace(cases[2], label="warm")
    text = text_of(run(cases))
    assert re.findall(r"buffer 10(\S*)", text) == ["[8]", "[16]", "[8]::warm"]


def test_test_functions_have_tables_of_their_own() -> None:
    second = replace(case(), name="test_other[x]", nodeid="b.py::test_other[x]")
    text = text_of(run([case(), second]))
    assert "test_serving, rate 10/s" in text
    assert text.count("verdict  ") == 2  # the columns' names stay, however long the heading is
    assert "test_other, rate 10/s" in text


def test_invalid_cases_of_one_cause_are_told_together() -> None:
    text = text_of(run([invalid(case(rate=rate)) for rate in (1.0, 2.0, 3.0)]))
    assert text.count("worst 31.2 ms") == 1


# -- into pytest's terminal -------------------------------------------------------------------


class FakeWriter:
    def __init__(self, encoding: str = "utf-8", columns: int = 80) -> None:
        self._file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        self.fullwidth = columns

    def sep(self, sign: str, title: str) -> None:
        self.line(f"{sign} {title} {sign}")

    def write(self, text: str, **markup: bool) -> None:
        self._file.write(text)

    def line(self, text: str = "", **markup: bool) -> None:
        self._file.write(text + "\n")

    def text_of(self, made: Run, verbosity: int = 0) -> str:
        """Write the tables and return all that has been written."""
        write_tables(self, made, verbosity)  # type: ignore[arg-type]
        self._file.seek(0)
        return self._file.read()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_can_be_written_to(encoding: str) -> None:
    for made in (made_runs.overloaded_run(), made_runs.hostile_run()):
        assert FakeWriter(encoding).text_of(made, 1)


def test_a_log_file_gets_all_columns_and_who_gives_a_width_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "errors" in FakeWriter().text_of(made_runs.default_run())
    monkeypatch.setenv("COLUMNS", "60")
    text = FakeWriter(columns=60).text_of(made_runs.default_run())
    assert max(map(display_width, text.splitlines())) <= 60


@pytest.mark.parametrize("started", ["2026-11-24T18:47:44+00:00", ""])
def test_a_run_can_be_named_with_its_date(started: str) -> None:
    made = replace(made_runs.single_run(), name="main", started=started)
    first, *others = map(plain_text, report_lines(made, named=True))
    assert first == "run       main" + (", 2026-11-24 18:47" if started else "")
    assert others == text_of(made).splitlines()


# -- results that nobody would think of -------------------------------------------------------

NUMBER = st.floats(0, 1e300) | st.sampled_from([0.0, 1e-12, 0.9999999, 999_999.96, 1e6, 1e15])
COUNT = st.integers(0, 10**12)
NAMES = ("p50", "p90", "p95", "p99", "p999")
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=200), int: COUNT, float: NUMBER, float | None: st.none() | NUMBER,
    int | None: st.none() | st.integers(1, 999), str | None: st.none() | st.text(max_size=200),
    bool: st.booleans(),
}  # fmt: skip


def any_of(cls: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return any object of a data class; ``fields`` are those of which its types say too little."""
    hints = get_type_hints(cls)
    needed = [one.name for one in dataclasses.fields(cls) if one.default is dataclasses.MISSING
              and one.default_factory is dataclasses.MISSING]  # fmt: skip
    plain = {name: VALUES[hints[name]] for name in needed if name not in fields}
    return st.builds(cls, **plain, **fields)


DISTRIBUTION = any_of(
    Distribution, percentiles=st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES[float | None]))
)
ESTIMATES = dict.fromkeys((*NAMES, "mean", "throughput", "success_rate"), any_of(Estimate))
SUMMARY = any_of(
    Summary,
    outcomes=st.fixed_dictionaries(dict.fromkeys(("ok", "dropped", "error_status"), COUNT)),
    success_rate=st.floats(0, 1),
    estimates=st.fixed_dictionaries(ESTIMATES),
    **dict.fromkeys(("latency", "queue_wait", "service_time", "generator_lag"), DISTRIBUTION),
)
CASE = any_of(
    CaseResult,
    server=any_of(ServerInfo, cpus=st.lists(st.integers(0, 9999), max_size=40).map(tuple)),
    rate=st.floats(1e-6, 1e12),
    duration=st.floats(0.001, 1e9),
    summary=SUMMARY,
    resources=any_of(Resources),
    generator=any_of(Generator, lag1=st.floats(-1, 1)),
    failures=st.just({}),
    verdict=st.sampled_from(["passed", "failed", "inconclusive", "invalid"]),
    invalid_reason=VALUES[str | None],
)
ANY_RUN = st.lists(CASE, max_size=3).map(run)
SLOW = examples(20, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(ANY_RUN, st.integers(40, 100), st.booleans())
def test_any_result_fits(made: Run, width: int, unicode: bool) -> None:
    check_lines(report_lines(made, width=width, unicode=unicode, verbosity=1), width)


def test_evaluation_gives_points_and_advice() -> None:
    made = made_runs.default_run()
    _, _, evaluation = text_of(made).partition("overall evaluation")
    for words in ("rate 1, buffer 10", "rate 10, buffer 50", "points", "advice", "noise"):
        assert words in evaluation
    assert all(len(text) <= 100 for text in evaluation.splitlines())


def test_one_server_is_compared_with_nothing() -> None:
    made = made_runs.default_run()
    alone = [case for case in made.cases if case.server.kind == "torchserve"]
    text = text_of(replace(made, cases=tuple(alone)))
    assert "evaluation" not in text
    assert "compare" not in text


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_evaluation_numbers_the_servers(width: int) -> None:
    made = made_runs.overloaded_run()
    _, _, evaluation = text_of(made, width).partition("overall evaluation")
    heading, *rows = evaluation.splitlines()[1:]
    assert heading.split() == ["point", "to", "p50", "tail", "ok/s", "ok", "%", "CPU", "memory"]
    row = next(one for one in rows if one.startswith("rate 50, buffer 10"))
    assert set(row.split()[4:]) == {"#1", "-"}
    words = " ".join(evaluation.split())
    assert re.search(r"\d+ points for #1 TensorFlow Serving: savedmodel-server 0.1.0", words)
    assert "0 points for #2 TorchServe 0.12.0" in words
    assert "…" not in evaluation


def test_a_wide_evaluation_names_the_servers() -> None:
    _, _, evaluation = text_of(made_runs.overloaded_run()).partition("overall evaluation")
    assert "#" not in evaluation


def test_the_options_of_a_server_are_told() -> None:
    server = replace(TORCHSERVE, options={"batch_size": "8", "command": "run" * 9})
    alone = setup_text(replace(server, options={}))
    assert setup_text(server) == f"{alone}, batch_size=8, command={'run' * 9}"
    assert setup_text(server, brief=True) == f"{alone}, batch_size=8"
    texts = dict(headline(run([case(server)])))
    assert texts["server"].endswith(", batch_size=8")


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 100, 160])
def test_more_than_two_servers_are_ranked(width: int) -> None:
    lines = evaluation_lines(made_runs.twelve_run([50.0, 100.0]), width)
    check_lines(lines, width)
    texts = [plain_text(one) for one in lines]
    ranks = [one for one in texts if re.match(r"#\d+ ", one)]
    assert [int(one.split()[0][1:]) for one in ranks] == list(range(1, 13))
    assert {one[4:11] for one in ranks[:2]} == {"TensorF", "Triton "}
    assert " 12/12 " in ranks[0]
    assert "TorchServe, bat" in ranks[-1]
    below = texts.index(next(one for one in texts if one.startswith("unbeaten")))
    (cell,) = [one for one in texts[below:] if one.startswith("rate 50, buffe")]
    ranked = [one for one in cell.split() if one.startswith("#")]
    assert ranked[:2] == ["#1", "#2"]  # those with the lowest p50
    prose = " ".join(" ".join(texts[below:]).split())
    assert re.search("At 50 requests/s, TensorFlow Serving.* unbeaten in ", prose)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), ""),
        (("a",), "a"),
        (("a", "b"), "a and b"),
        (("a", "b", "c"), "a, b and c"),
        (("API", "API, 2 workers", "ONNX"), "API; API, 2 workers; and ONNX"),
    ],
)
def test_words_are_joined(words: tuple[str, ...], text: str) -> None:
    assert joined(words) == text
