"""Records: what is counted, and that files come back whole or are refused."""

import dataclasses
import io
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.records import NEVER, TIME_COLUMNS, Outcome, Records, new_store
from pytest_servebench.load.store import Phase, RecordStore

times = st.integers(-1, 2**62)


@st.composite
def any_records(draw: st.DrawFn) -> Records:
    n = draw(st.integers(0, 30))
    columns: dict[str, Any] = {
        name: np.array(draw(st.lists(times, min_size=n, max_size=n)), dtype=np.int64)
        for name in TIME_COLUMNS
    }
    outcome = draw(st.lists(st.sampled_from(list(Outcome)), min_size=n, max_size=n))
    status = draw(st.lists(st.integers(0, 999), min_size=n, max_size=n))
    return Records(
        **columns,
        outcome=np.array(outcome, dtype=np.uint8),
        status=np.array(status, dtype=np.int16),
        window=draw(st.integers(0, 2**62)),
    )


def same(one: Records, other: Records) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in (*TIME_COLUMNS, "outcome", "status")
    ) and (one.window == other.window)


@pytest.fixture
def rows() -> Records:
    """Return one request of each outcome, the dropped one never taken up by a worker."""
    n = len(Outcome)
    at = np.arange(n, dtype=np.int64) * 1_000_000
    outcome = np.arange(n, dtype=np.uint8)
    dropped = outcome == Outcome.DROPPED
    return Records(
        scheduled=at,
        enqueued=at + 1_000,
        dequeued=np.where(dropped, NEVER, at + 3_000),
        sent=np.where(dropped, NEVER, at + 4_000),
        first_byte=np.where(dropped, NEVER, at + 500_000),
        done=at + 604_000,
        outcome=outcome,
        status=np.zeros(n, dtype=np.int16),
        window=10**9,
    )


@given(any_records())
def test_outcomes_add_up(some: Records) -> None:
    counts = some.counts()
    assert sum(counts.values()) == len(some)
    assert set(counts) == {outcome.label for outcome in Outcome}
    assert counts["ok"] == some.ok.sum() == np.isfinite(some.latency()).sum()
    assert len(some.service_time()) == counts["ok"]


@given(any_records())
def test_records_come_back_as_they_were(some: Records) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "case.npz"
        some.save(path)
        assert same(Records.load(path), some)
        assert [one.name for one in Path(directory).iterdir()] == ["case.npz"]


def test_saving_replaces_the_file(tmp_path: Path, rows: Records) -> None:
    path = tmp_path / "case.npz"
    path.write_text("an older file")
    rows.save(path)
    assert same(Records.load(path), rows)


@pytest.mark.parametrize("part", [0, 1, 100, 0.5, 0.95, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, rows: Records, part: float) -> None:
    path = tmp_path / "case.npz"
    rows.save(path)
    whole = path.read_bytes()
    size = int(part * len(whole)) if 0 < part < 1 else int(part)
    path.write_bytes(whole[:size])
    with pytest.raises(ValueError, match=r"case\.npz: not a records file"):
        Records.load(path)


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"not a file of NumPy", b"PK\x03\x04" + b"\0" * 100, npz(scheduled=np.zeros(3))],
    ids=["text", "zip", "a column alone"],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "case.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a records file"):
        Records.load(path)


def columns(rows: Records, **changes: Any) -> dict[str, Any]:
    return {**{one.name: getattr(rows, one.name) for one in dataclasses.fields(rows)}, **changes}


@pytest.mark.parametrize(
    "change",
    [
        {"done": np.zeros(3, dtype=np.int64)},
        {"done": np.zeros((2, 2), dtype=np.int64)},
        {"done": np.int64(7)},
        {"window": np.zeros(4, dtype=np.int64)},
        {"scheduled": np.zeros(4)},
        {"status": np.zeros(4, dtype=np.int64)},
        {"outcome": np.array(["ok"] * 4)},
        {"outcome": np.array([None] * 4)},  # pickled
        {"outcome": np.full(4, 200, dtype=np.uint8)},
    ],
)
def test_columns_of_another_kind_are_refused(
    tmp_path: Path, rows: Records, change: dict[str, Any]
) -> None:
    path = tmp_path / "case.npz"
    four: Any = {name: np.resize(value, 4) if np.ndim(value) else value
            for name, value in columns(rows).items()}  # fmt: skip
    np.savez(path, **four)
    assert len(Records.load(path)) == 4
    changed: Any = {**four, **change}
    np.savez(path, **changed)
    with pytest.raises(ValueError, match="not a records file"):
        Records.load(path)


def test_records_of_another_case_are_refused(tmp_path: Path, rows: Records) -> None:
    path = tmp_path / "case.npz"
    rows.save(path)
    assert len(Records.load(path, len(rows))) == len(rows)
    with pytest.raises(ValueError, match=f"{len(rows)} records of {len(rows) + 1} arrivals"):
        Records.load(path, len(rows) + 1)


def header(count: int, kind: str) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": kind, "fortran_order": False, "shape": (count,)}
    )
    return file.getvalue()


@pytest.mark.parametrize("whole", [True, False])
def test_a_bomb_is_not_unpacked(tmp_path: Path, rows: Records, whole: bool) -> None:
    path = tmp_path / "case.npz"
    count, block = 4_000_000, bytes(1_000_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in columns(rows).items():
            kind = np.asarray(value).dtype.str
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                file.write(header(count if name == "scheduled" else 10**15, kind))
                for _ in range(32 if name == "scheduled" and whole else 1):
                    file.write(block)
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        for arrivals in (None, 100):
            with pytest.raises(ValueError, match="not a records file"):
                Records.load(path, arrivals)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_missing_file_is_told_from_a_bad_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Records.load(tmp_path / "case.npz")


def test_durations_are_seconds(rows: Records) -> None:
    latency = rows.latency()
    assert latency[Outcome.OK] == pytest.approx(604e-6)
    assert np.isinf(latency[1:]).all()
    assert rows.service_time() == pytest.approx([600e-6])
    # The dropped one was never taken by a worker, but the generator did look at it.
    assert rows.queue_wait() == pytest.approx([2e-6] * (len(Outcome) - 1))
    assert rows.generator_lag() == pytest.approx([1e-6] * len(Outcome))


def test_store_is_written_in_place(tmp_path: Path) -> None:
    scheduled = np.array([10, 20, 30], dtype=np.int64)
    with (tmp_path / "store").open("w+b") as file:
        store = new_store(file, scheduled, np.array([0, 2**32 - 1, 1], np.uint32), window=1000)
        assert len(store) == 3
        before = Records.of(store)
        assert before.counts()["unfinished"] == 3
        assert before.scheduled.tolist() == [10, 20, 30]
        assert before.done.tolist() == [NEVER] * 3
        assert (store.phase, store.start) == (Phase.PREPARING, NEVER)
        # Another process maps the same file.
        other = RecordStore(file.fileno())
        other.column("done")[1] = 25
        other.column("outcome")[1] = Outcome.OK
        other.column("status")[1] = 200
        other.phase, other.start = Phase.RUNNING, 123
        assert other.column("payload").tolist() == [0, 2**32 - 1, 1]
        after = Records.of(store)
        assert after.done.tolist() == [NEVER, 25, NEVER]
        assert after.ok.tolist() == [False, True, False]
        assert after.status.tolist() == [0, 200, 0]
        assert after.window == 1000
        assert (store.phase, store.start) == (Phase.RUNNING, 123)
        # A snapshot is a copy.
        other.column("done")[1] = 26
        assert after.done[1] == 25
        other.close()
        store.close()
