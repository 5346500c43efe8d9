"""The parts of streamed answers, and the journal from which they are read after the load."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.load.journal import Journal, JournalWriter
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.storage import journal_file
from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.base import Completion, Parts


def came(*reads: tuple[int, bytes], most: int = 100) -> Completion:
    told = [one for now, data in reads for one in (data, now)]
    return Completion(Outcome.OK, 1, 2, parts=Parts(most, told, sum(len(one) for _, one in reads)))


def test_pieces_beyond_the_most_become_one_with_the_last() -> None:
    whole = came((5, b"a"), (5, b"b"), (7, b"cd"), (9, b"e"), (11, b"f"), (11, b"g"), most=2)
    assert whole.parts is not None
    assert whole.parts.merge() == 4
    assert whole.parts.told == [b"a", 5, b"bcdefg", 11]
    assert whole.parts.merge() == 0


def test_a_journal_gives_answers_back_one_by_one() -> None:
    with tempfile.TemporaryFile() as file:
        writer = JournalWriter(file.fileno())
        writer.add(3, came((5, b"a"), (5, b"b"), (6, b"c")))
        writer.flush()
        writer.add(1, came())  # nothing came
        writer.add(2**31, came((7, bytes(10**6)), (8, b"x"), (9, b"y"), most=2))
        writer.flush()
        journal = Journal(file)
        for _ in range(2):
            found = [(one.index, one.times, one.ends, len(one.body), one.merged) for one in journal]
            assert found == [
                (3, [5, 6], [2, 3], 3, 0), (2**31, [7, 9], [10**6, 10**6 + 2], 10**6 + 2, 1),
            ]  # fmt: skip
        assert writer.lost == 0


def test_an_answer_that_was_being_written_when_the_generator_died_is_left_out() -> None:
    with tempfile.TemporaryFile() as file:
        writer = JournalWriter(file.fileno())
        writer.add(0, came((5, b"ab")))
        writer.flush()
        size = os.fstat(file.fileno()).st_size
        writer.add(1, came((6, bytes(23))))
        writer.flush()
        whole = os.fstat(file.fileno()).st_size
        for left in reversed(range(size, whole)):
            os.ftruncate(file.fileno(), left)
            assert [one.index for one in Journal(file)] == [0]


def test_an_answer_for_which_there_is_no_space_is_counted_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = os.writev

    def full(number: int, parts: Any) -> int:
        return written(number, [b"".join(parts)[:30]])

    with tempfile.TemporaryFile() as file:
        writer = JournalWriter(file.fileno())
        writer.add(0, came((5, b"ab")))
        writer.flush()
        with monkeypatch.context() as patch:
            patch.setattr(os, "writev", full)
            writer.add(1, came((6, b"abc")))
            writer.flush()
        assert writer.lost == 1
        writer.add(2, came((7, b"abcd")))
        writer.flush()
        assert [(one.index, one.body) for one in Journal(file)] == [(0, b"ab"), (2, b"abcd")]
    with Path("/dev/null").open("rb") as read_only:
        writer = JournalWriter(read_only.fileno())
        writer.add(0, came((5, b"ab")))
        writer.flush()
        assert writer.lost == 1


def test_answers_are_written_when_they_are_many_or_much_or_old() -> None:
    with tempfile.TemporaryFile() as file:
        writer = JournalWriter(file.fileno())
        second = 1_000_000_000

        def add(count: int, size: int = 2) -> None:
            for _ in range(count):
                writer.add(0, came((5, bytes(size))))

        def written() -> int:
            return len([*Journal(file)])

        writer.flush_some(second)
        add(20)
        writer.flush_some(second + 1)
        assert written() == 0
        add(20)
        writer.flush_some(second + 2)
        assert written() == 40
        add(1)
        writer.flush_some(2 * second)
        assert written() == 41
        add(1, 2**17 + 1)
        assert written() == 41
        writer.flush_some(2 * second + 1)
        assert written() == 42
        add(100)  # without being asked
        assert 42 < written() < 142
        add(1, 2**21)
        assert written() == 143


def test_a_journal_is_in_memory_if_usual_answers_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = LoadSpec(
        target=Target("localhost", 1), requests=(b"",), rate=2, duration=3, workers=1, buffer_size=1
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for arrivals, place in ((6, "/dev/shm"), (10**9, tmp_path)):
        with journal_file(spec, arrivals) as file:
            assert Path(f"/proc/self/fd/{file.fileno()}").readlink().is_relative_to(place)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(OptionError, match=r"2 requests/s for 3 s.*No such file.*TMPDIR"):
        journal_file(spec, 10**9)
