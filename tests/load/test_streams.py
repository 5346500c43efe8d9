"""Columns of streamed answers: what they tell, and that files come back whole or are refused."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.records import NEVER, TIME_COLUMNS, Records
from pytest_servebench.load.streams import Streams

SOME = Streams(
    offsets=np.array([0, 3, 3, 4], dtype=np.int64),
    times=np.array([10, 20, 50, 30], dtype=np.int64) * 10**9,
    tokens=np.array([3, -1, 1], dtype=np.int32),
    input_tokens=np.array([7, -1, 8], dtype=np.int32),
    bunched=np.array([1, 0, 0], dtype=np.int32),
    counted="usage",
)


def records(streams: Streams | None) -> Records:
    size = 3 if streams is None else len(streams)
    times: Any = {name: np.zeros(size, dtype=np.int64) for name in TIME_COLUMNS}
    outcome, status = np.zeros(size, np.uint8), np.zeros(size, np.int16)
    return Records(**times, outcome=outcome, status=status, window=1, streams=streams)


def test_first_last_and_gaps() -> None:
    assert SOME.first().tolist() == [10 * 10**9, NEVER, 30 * 10**9]
    assert SOME.last().tolist() == [50 * 10**9, NEVER, 30 * 10**9]
    gaps, requests = SOME.gaps()
    assert (gaps.tolist(), requests.tolist()) == ([10.0, 30.0], [0, 0])
    assert records(SOME).first_token.tolist() == SOME.first().tolist()
    assert records(None).first_token.tolist() == [NEVER] * 3


@given(
    st.lists(st.lists(st.integers(0, 2**62), max_size=4), max_size=6),
    st.sampled_from(["usage", "tokenizer", "events"]),
)
def test_streams_come_back_as_they_were(events: list[list[int]], counted: Any) -> None:
    counts = np.array([len(one) for one in events], dtype=np.int64)
    saved = Streams(
        offsets=np.concatenate(([0], counts.cumsum())).astype(np.int64),
        times=np.array([time for one in events for time in sorted(one)], dtype=np.int64),
        tokens=counts.astype(np.int32), input_tokens=np.full(len(events), -1, np.int32),
        bunched=np.zeros(len(events), np.int32), counted=counted,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        records(saved).save(Path(directory) / "case.npz")
        found = Records.load(Path(directory) / "case.npz").streams
    assert found is not None
    assert found.counted == counted
    for name in ("offsets", "times", "tokens", "input_tokens", "bunched"):
        assert getattr(found, name).dtype == getattr(saved, name).dtype
        assert getattr(found, name).tolist() == getattr(saved, name).tolist()
    first = [sorted(one)[0] if one else NEVER for one in events]
    assert found.first().tolist() == first
    gaps = [np.diff(sorted(one)) / 1e9 for one in events]
    assert found.gaps()[0].tolist() == [gap for one in gaps for gap in one]


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": np.array([0, 4, 3, 4])},
        {"offsets": np.array([1, 3, 3, 4])},
        {"offsets": np.array([0, 4])},
        {"times": np.array([30, 20, 50, 30])},
        {"times": np.array([-1, 20, 50, 30])},
        {"times": np.array([10, 20, 50])},
        {"times": np.array([1.0, 2.0, 3.0, 4.0])},
        {"tokens": np.array([-2, 1, 1], dtype=np.int32)},
        {"tokens": np.array([1, 1], dtype=np.int32)},
        {"input_tokens": np.array([-2, 1, 1], dtype=np.int32)},
        {"bunched": np.array([3, 0, 0], dtype=np.int32)},
        {"bunched": np.array([-1, 0, 0], dtype=np.int32)},
        {"counted": np.uint8(99)},
    ],
)
def test_columns_that_contradict_each_other_are_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "case.npz"
    records(SOME).save(path)
    with np.load(path) as saved:
        columns = dict(saved)
    changed: Any = {**columns, **{f"stream_{name}": value for name, value in change.items()}}
    np.savez(path, **changed)
    with pytest.raises(ValueError, match=r"case\.npz: not a records file"):
        Records.load(path)


def test_a_column_of_streams_that_is_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.npz"
    records(SOME).save(path)
    with np.load(path) as saved:
        columns: Any = {name: value for name, value in saved.items() if name != "stream_tokens"}
    np.savez(path, **columns)
    with pytest.raises(ValueError, match="stream_tokens"):
        Records.load(path)
