"""The schedule: what is drawn is a Poisson process, and the check tells what is not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrival_forms import parse_arrivals
from pytest_servebench.load.arrivals import (
    ArrivalProcess,
    Constant,
    Gamma,
    Poisson,
    Ramp,
    Steps,
    Trace,
)
from pytest_servebench.load.draws import streams

seeds = st.integers(0, 2**31)


def schedule(seed: int, rate: float, duration: float) -> npt.NDArray[np.int64]:
    return Poisson().schedule(rate, duration, streams(seed, rate)[0])


@given(seeds, st.sampled_from([0.5, 1.0, 10.0, 100.0]))
def test_the_same_seed_gives_the_same_schedule(seed: int, rate: float) -> None:
    first = schedule(seed, rate, 10.0)
    assert np.array_equal(first, schedule(seed, rate, 10.0))
    # A longer window goes on where the shorter one ends.
    assert np.array_equal(first, schedule(seed, rate, 10.0 * (1 + 1e-9))[: len(first)])


def test_seeds_rates_and_purposes_have_streams_of_their_own() -> None:
    first = schedule(0, 10, 10.0)
    assert not np.array_equal(first, schedule(1, 10, 10.0))
    assert not np.array_equal(first, schedule(0, 10.000001, 10.0)[: len(first)])
    arrivals, payloads = streams(0, 10)
    assert not np.array_equal(arrivals.random(5), payloads.random(5))


def test_rate_and_spread_are_poissons_over_many_seeds() -> None:
    counts = np.array([len(schedule(seed, 10, 15)) for seed in range(1000)])
    # Mean and variance are both 150; four standard errors.
    assert counts.mean() == pytest.approx(150, abs=4 * np.sqrt(150 / 1000))
    assert counts.var(ddof=1) == pytest.approx(150, abs=4 * 150 * np.sqrt(2 / 999))


@pytest.mark.parametrize(("rate", "duration"), [(1, 60.0), (10, 15.0), (100, 15.0), (1000, 5.0)])
def test_the_check_accepts_poisson_processes(rate: float, duration: float) -> None:
    checks = [
        Poisson().check(schedule(seed, rate, duration), rate, duration) for seed in range(100)
    ]
    # Each band holds 99 % at least.
    assert sum(abs(one.rate_z) <= 2.576 for one in checks) >= 96
    assert sum(
        one.dispersion_band[0] <= one.dispersion <= one.dispersion_band[1] for one in checks
    ) >= 96  # fmt: skip
    assert sum(abs(one.lag1) <= one.lag1_band for one in checks) >= 96
    assert sum(one.plausible for one in checks) >= 92
    assert np.mean([one.dispersion for one in checks]) == pytest.approx(1, abs=0.1)


def test_the_check_refuses_what_is_not_poisson() -> None:
    duration, rate = 30.0, 100.0
    dice = np.random.default_rng(0)
    even = (np.arange(3000) * 1e7).astype(np.int64)
    assert not Poisson().check(even, rate, duration).plausible
    # One seed in every one of ten workers: all arrivals come in tens.
    tens = np.repeat(Poisson().schedule(10, duration, dice), 10)
    assert Poisson().check(tens, rate, duration).dispersion > 5
    assert not Poisson().check(tens, rate, duration).plausible
    # Slow and fast seconds take turns: gaps by themselves look exponential enough.
    busy = Poisson().schedule(170, duration, dice)
    quiet = Poisson().schedule(30, duration, dice)
    turns = np.sort(np.concatenate([busy[busy // 10**9 % 2 == 0], quiet[quiet // 10**9 % 2 == 1]]))
    assert not Poisson().check(turns, rate, duration).plausible
    assert not Poisson().check(Poisson().schedule(120, duration, dice), rate, duration).plausible


# -- other processes ------------------------------------------------------------------------------

PROCESSES: list[ArrivalProcess] = [
    Poisson(), Constant(), Gamma(4.0), Gamma(0.25), Steps((1, 3, 1)), Steps((0, 1)), Ramp((0.5, 2)),
    Ramp((0, 2, 0)),
]  # fmt: skip
processes = st.sampled_from(PROCESSES)


@given(processes, seeds, st.floats(0.01, 2000), st.floats(0.001, 20))
def test_every_schedule_ascends_within_the_window_and_repeats(
    process: ArrivalProcess, seed: int, rate: float, duration: float
) -> None:
    times = process.schedule(rate, duration, streams(seed, rate)[0])
    assert times.dtype == np.int64
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < duration * 1e9)).all()
    assert np.array_equal(times, process.schedule(rate, duration, streams(seed, rate)[0]))


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_each_process_passes_its_own_check_and_has_its_mean_rate(process: ArrivalProcess) -> None:
    rate, duration = 200.0, 20.0
    schedules = [process.schedule(rate, duration, streams(i, rate)[0]) for i in range(60)]
    passed = sum(process.check(times, rate, duration).plausible for times in schedules)
    assert passed >= 57  # three bands of 99.9 %
    expected = process.mean_rate(rate, duration) * duration
    mean = np.mean([len(times) for times in schedules])
    assert mean == pytest.approx(expected, abs=4 * np.sqrt(4 * expected / 60) + 1)


@pytest.mark.parametrize(
    ("drawn", "taken_for"),
    [
        (Constant(), Poisson()), (Gamma(4.0), Poisson()), (Gamma(0.25), Poisson()),
        (Steps((1, 3, 1)), Poisson()), (Ramp((0.1, 1.9)), Poisson()), (Poisson(), Constant()),
        (Poisson(), Gamma(4.0)), (Poisson(), Gamma(0.25)), (Poisson(), Steps((1, 3, 1))),
        (Ramp((0.1, 1.9)), Steps((1, 1))), (Gamma(4.0), Ramp((0.5, 1.5))),
    ],
    ids=str,
)  # fmt: skip
def test_each_check_refuses_other_processes(
    drawn: ArrivalProcess, taken_for: ArrivalProcess
) -> None:
    rate, duration = 200.0, 30.0
    for seed in range(10):
        times = drawn.schedule(rate, duration, streams(seed, rate)[0])
        assert not taken_for.check(times, rate, duration).plausible


def test_gaps_of_a_gamma_process_have_its_burstiness() -> None:
    for burstiness in (0.25, 1.0, 4.0):
        gaps = np.diff(Gamma(burstiness).schedule(100, 2000.0, streams(1, 100)[0])) / 1e9
        assert gaps.mean() == pytest.approx(0.01, rel=0.02)
        assert gaps.var() / gaps.mean() ** 2 == pytest.approx(burstiness, rel=0.1)


@given(
    st.lists(st.floats(0, 5), min_size=2, max_size=6).filter(any), st.sampled_from([Steps, Ramp])
)
def test_integrals_of_varying_rates_are_those_of_their_factors(
    factors: list[float], kind: type[Steps] | type[Ramp]
) -> None:
    process = kind(tuple(factors))
    grid = np.linspace(0, 1, 6001)
    middle = (grid[1:] + grid[:-1]) / 2
    sums = np.concatenate([[0], np.cumsum(process.factor(middle)) / 6000])
    np.testing.assert_allclose(process.integral(grid), sums, rtol=0, atol=2e-3)


def test_constant_gaps() -> None:
    assert Constant().schedule(4, 1.0, streams(0, 4)[0]).tolist() == [0, 250e6, 500e6, 750e6]


# -- traces ---------------------------------------------------------------------------------------


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_trace_is_replayed_as_recorded_or_at_the_cases_rate(tmp_path: Path) -> None:
    file = written(tmp_path / "t.csv", "time,who\n1700000000.0,a\n# noon\n\n1700000000.5,b\n"
                   "1700000002.0,a\n1700000003.0,c\n")  # fmt: skip
    dice = streams(0, 1)[0]
    recorded = Trace.read(file, as_recorded=True)
    assert recorded.schedule(99, 3.5, dice).tolist() == [0, 5 * 10**8, 2 * 10**9, 3 * 10**9]
    assert recorded.mean_rate(99, 4.0) == 1.0
    # Three gaps in three seconds are one a second; at two a second all takes half the time.
    faster = Trace.read(file)
    assert faster.schedule(2, 1.75, dice).tolist() == [0, 25 * 10**7, 10**9, 15 * 10**8]
    assert faster.check(faster.schedule(2, 1.75, dice), 2, 1.75).plausible


def test_a_trace_that_is_too_short_for_the_window_is_refused(tmp_path: Path) -> None:
    trace = Trace.read(written(tmp_path / "t", "0\n1\n2\n"), as_recorded=True)
    with pytest.raises(OptionError, match=r"ends after 3 s as recorded, before the case's 9 s"):
        trace.schedule(1, 9.0, streams(0, 1)[0])


def test_a_trace_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none cannot be read: No such file"):
        parse_arrivals("trace:none", tmp_path)


# -- the files that people have -------------------------------------------------------------------

GAPS = (0.0, 0.25, 0.75, 2.0)  # seconds since the first

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.2299600,3180,8
2023-11-16 18:17:04.7299600,110,27
2023-11-16 18:17:05.9799600,7433,14
"""
MOONCAKE = "\n".join(
    json.dumps({"timestamp": 1000 * gap, "input_length": 9, "output_length": 2, "hash_ids": [1]})
    for gap in GAPS
)


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (AZURE, ""),
        (AZURE.replace("\n", "\r\n").encode("utf-8-sig"), ""),
        (AZURE.replace(",", "\t").encode("utf-16"), ""),
        (AZURE.replace("TIMESTAMP,ContextTokens", "ContextTokens,when"), "@column=1"),
        (MOONCAKE, ""),
        ("Timestamp,Model,Request tokens\n5,x,1\n5.25,GPT-4,2\n5.75,GPT-4,3\n7,GPT-4,3\n", ""),
        ("\ufeff0.0\n0.25\n0.75\n2.0\n", ""),
        ("zeit;n\n0,0;1\n0,25;1\n0,75;1\n2,0;1\n", "@column=zeit"),
        ("id,arrival_ms\n1,100\n2,350\n3,850\n4,2100\n", ""),
        ("id,time (ms)\n1,100\n2,350\n3,850\n4,2100\n", ""),
        ("id\tarrivalTimeMs\n1\t100\n2\t350\n3\t850\n4\t2100\n", ""),
        ("0\n250\n750\n2000\n", "@unit=ms"),
        ("0\n250\n750\n2000\n", "@recorded@unit=ms"),
        ("1700000000000\n1700000000250\n1700000000750\n1700000002000\n", ""),
        ("1700000000000000000\n1700000000250000000\n1700000000750000000\n1700000002000000000", ""),
        ("1700000000.5\n1700000000.75\n1700000001.25\n1700000002.5\n", ""),
        ('"2026-01-31T09:30:00+01:00","a\nb"\n"2026-01-31T08:30:00.25Z",x\n'
         '"2026-01-31T08:30:00.750Z",x\n"2026-01-31T09:30:02+01:00",x\n', ""),
        ('{"id": 1, "at": "2026-01-31T09:30:00"}\n{"id": 2, "at": "2026-01-31T09:30:00.250"}\n'
         '{"id": 3, "at": "2026-01-31T09:30:00.75"}\n\n{"id": 4, "at": "2026-01-31T09:30:02"}\n',
         "@column=at"),
        ("[0.0, 0.25, 0.75, 2.0]", ""),
        ("0.0,17\n0.25,19\n0.75,18\n2.0,17\n", ""),
        ("1,0.0\n2,0.25\n3,0.75\n4,2.0\n", "@column=2"),
        ("ts\n1700000000000000000\n1700000000250000000\n1700000000750000000\n1700000002000000000",
         ""),
        ('[{"ts": 0.0}, {"ts": 0.25}, {"ts": 0.75}, {"ts": 2.0}]', ""),
    ],
)  # fmt: skip
def test_a_trace_as_it_comes(tmp_path: Path, content: str | bytes, suffix: str) -> None:
    file = tmp_path / "a@trace.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    suffix = suffix if "recorded" in suffix else suffix + "@recorded"
    trace = parse_arrivals(f"trace:{file.name}{suffix}", tmp_path)
    assert isinstance(trace, Trace)
    assert trace.times == pytest.approx(GAPS, abs=1e-6)
    assert str(trace) == "trace:a@trace.csv@recorded"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "git lfs pull"),
        ("/annex/objects/MD5-1\n", "git annex get"),
        (b"\x1f\x8b\x08rest", "gunzip"),
        (b"PAR1rest", "CSV"),
        ("# nothing\n", "is empty"),
        ("id,tokens\n1,2\n2,3\n", "'id', 'tokens'.*@column="),
        ('{"id": 1, "tokens": 2}\n{"id": 2, "tokens": 2}', "'id', 'tokens'.*@column="),
        ('{"ts": 1}\n{"tokens": 2}', "line 2: has no field 'ts'"),
        ('{"ts": 1}\n{"ts": true}', "line 2: 'True' is not a time"),
        ('{"ts": 1}\n{"ts": 2', "JSON lines"),
        ("[" * 100_000, "JSON"),
        ("time,n\n1,2\n,3\n", "line 3: '' is not a time"),
        ("n,time\n1,2\n1\n", "line 3: has no column 2"),
        ("0\n-1\n", "line 2: -1 is negative"),
        ("0\n1e999\n", "line 2: '1e999' is not a time"),
        ("2026-01-31 10:00\n2026-01-31 09:00\n", "line 2: .* is earlier"),
        ("2026-01-31 10:00\n2026-01-31 10:00:01Z\n", "some have none"),
        ("2026-01-31 10:00\n5\n", "some are numbers"),
        ("01/31/2026 10:00\n01/31/2026 10:01\n", "ISO 8601"),
        # The number of a line, or the time? Two columns, or a decimal comma?
        ("1,0.0\n2,0.25\n3,0.75\n", "@column=1"),
        ("0,03\n0,51\n1,02\n", "decimals with a point"),
        ("time\n0,03\n0,51\n", "line 2: .* decimals with a point"),
        ("2026-01-31 10:00:00,030 GET /\n2026-01-31 10:00:00,060 GET /\n", "with a point"),
        # Seconds or milliseconds?
        ("ts\n0\n103\n250\n", "@unit=ms"),
        ("times\n0\n103\n250\n", "@unit=ms"),
        ("0\n103\n250\n", "@unit=ms"),
        ("0\n12.5\n250.75\n", "@unit=ms"),
        (b"0\n1\0\n2\n", "not a text file"),
        (b"\xff\xfe\x00", "not a text file"),
        ("", "at least two different arrival times"),
        ("1\n", "at least two different arrival times"),
        ("1\n1\n", "at least two different arrival times"),
        ("1\n2\nx\n", "line 3: 'x' is not a time"),
        ("1\nnan\n", "line 2: 'nan' is not a time"),
        ("2\n1\n", "line 2: 1 is earlier than the line before; sort the file"),
    ],
)
def test_a_trace_that_says_what_is_wrong(tmp_path: Path, content: str | bytes, words: str) -> None:
    (tmp_path / "t").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        parse_arrivals("trace:t@recorded", tmp_path)


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        ("@unit=min", "give one of s, ms"),
        ("@column=when", "'time', 'n'"),
        ("@column=3", "no column"),
    ],
)
def test_wrong_words_after_a_trace(tmp_path: Path, suffix: str, words: str) -> None:
    written(tmp_path / "t", "time,n\n0,1\n1,1\n")
    with pytest.raises(ValueError, match=words):
        parse_arrivals(f"trace:t{suffix}", tmp_path)


def test_the_unit_does_not_matter_where_time_is_scaled(tmp_path: Path) -> None:
    written(tmp_path / "t", "0\n250\n750\n2000\n")
    dice = streams(0, 1)[0]
    schedules = [
        parse_arrivals(f"trace:t{suffix}", tmp_path).schedule(3, 1.0, dice).tolist()
        for suffix in ("", "@unit=ms")
    ]
    assert schedules[0] == schedules[1] == [0, 125_000_000, 375_000_000]


def test_a_single_arrival_in_the_window_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "t", "0\n103\n250\n")
    trace = parse_arrivals("trace:t@unit=s@recorded", tmp_path)
    with pytest.raises(OptionError, match=r"single arrival.*103 s.*@unit=ms"):
        trace.schedule(1, 10.0, streams(0, 1)[0])


@given(st.one_of(st.text(), st.text(alphabet='0123456789.,;-:T\n\t"{}[] @e')))
def test_any_text_is_a_trace_or_an_error(tmp_path_factory: Any, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(text.encode("utf-8", "replace"))
    try:
        times = Trace.read(file, as_recorded=True).times
    except ValueError as error:
        assert str(file) in str(error)  # noqa: PT017
    else:
        assert times[0] == 0
        assert list(times) == sorted(times)


# -- as text --------------------------------------------------------------------------------------


@given(processes)
def test_processes_survive_text(process: ArrivalProcess) -> None:
    assert parse_arrivals(str(process)) == process


def test_a_trace_is_read_from_text(tmp_path: Path) -> None:
    file = written(tmp_path / "t", "0\n1.5\n")
    trace = parse_arrivals("trace:t@recorded", tmp_path)
    assert trace == Trace.read(file, as_recorded=True)
    assert str(trace) == "trace:t@recorded"


@pytest.mark.parametrize(
    "text",
    ["", "uniform", "poisson:2", "gamma", "gamma:", "gamma:x", "gamma:1,2", "gamma:0", "gamma:nan",
     "gamma:-1", "steps:", "steps:1,,2", "steps:-1", "steps:0,0", "ramp:1", "ramp:inf,1", "trace:"],
)  # fmt: skip
def test_text_that_is_no_process(text: str) -> None:
    with pytest.raises(ValueError, match=r"give|factors"):
        parse_arrivals(text)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_check_takes_hardly_any_arrivals(number: int) -> None:
    times = np.arange(1, number + 1, dtype=np.int64) * 10**8
    found = Poisson().check(times, 1.0, 1.0)
    assert found.achieved_rate == number
    assert np.isfinite([found.rate_z, found.dispersion, found.lag1]).all()
