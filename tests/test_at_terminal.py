"""Whole runs at a terminal: the live line is there, and nothing is left of it."""

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from pytest_servebench.servers.ports import free_ports
from tests.at_terminal import Seen, environment, run_at_terminal
from tests.conftest import INI

TESTS = """
import pytest

def test_load(model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.slo("p50<0.01ms")
def test_slow(model_server, poisson_load):
    print("printed before the load")
    poisson_load(model_server)
    print("printed after the load")
"""
LIVE = ("s left", "warming up", "starting toy", "stopping toy", "preparing", "saving", "█", "░")
COMMAND = (
    sys.executable, "-m", "pytest", "-p", "tests.toy", "-p", "no:hypothesispytest",
    "--servebench-duration=0.6",
)  # fmt: skip

AtTerminal = Callable[..., Seen]


pytestmark = pytest.mark.servers


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


@pytest.fixture
def at_terminal(directory: Path) -> AtTerminal:
    def run(*arguments: str, columns: int = 100, resize: int = 0, **env: str) -> Seen:
        return run_at_terminal(
            [*COMMAND, *arguments], directory, columns=columns,
            resize=(b"s left", resize) if resize else None, env=env,
        )  # fmt: skip

    return run


def check_nothing_is_left(seen: Seen) -> None:
    for word in LIVE:
        assert word not in seen.text, word


def test_the_wait_for_a_url_where_nobody_listens_is_shown(
    directory: Path, at_terminal: AtTerminal
) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    (directory / "test_it.py").write_text(
        "from pytest_servebench import HttpRequest\n"
        f"def test_it(poisson_load): poisson_load('{url}', requests=[HttpRequest('GET', '/')])\n"
    )
    seen = at_terminal("--servebench-start-timeout=0.3")
    assert f"waiting for {url}".encode() in seen.output
    assert "waiting for" not in seen.text


@pytest.mark.parametrize(
    "arguments",
    [
        ("-s", "-v"),
        ("--capture=sys", "--no-header", "--tb=short", "--color=yes",
         "--servebench-interleave", "--servebench-servers=toy,toy2"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_live_line_comes_and_goes(at_terminal: AtTerminal, arguments: tuple[str, ...]) -> None:
    seen = at_terminal(*arguments)
    assert seen.status == 1
    assert b"s left" in seen.output
    shown = re.findall(r"\x1b\[B\r([^\x1b]*)\x1b\[J", seen.output.decode())
    assert any(" · 2/" in text for text in shown)
    # What is over does not seem to begin again.
    for text, following in pairwise(shown):
        if "s left" in text and "warming up" in following:
            assert re.search(r"\d/", text)[0] != re.search(r"\d/", following)[0]  # type: ignore[index]
    check_nothing_is_left(seen)
    for part in (
        "= FAILURES =",
        "printed before the load",
        "printed after the load",
        "p50<0.01ms: broken",
        "test_slow, rate 40/s",
        "servebench: results in servebench_results/",
    ):
        assert part in seen.text, part
    detailed = ("queue wait", "service time", "generator lag", "longest pause", "95 % interval")
    for part in detailed if "-v" in arguments else ():
        assert part in seen.text, part


def test_what_pytest_shows_is_what_it_shows_without_a_live_line(at_terminal: AtTerminal) -> None:
    """Nothing of pytest's own is overwritten, and no line is added but where it scrolled."""
    lively, silent = at_terminal("--color=no"), at_terminal("--color=no", TERM="dumb")
    assert b"s left" in lively.output
    assert b"\x1b" not in silent.output

    def comparable(seen: Seen) -> list[str]:
        text = re.sub(r"servebench_results/[\d-]+", "", seen.text.rstrip())
        text = text[: text.index("benchmark: 2")]  # all that follows is numbers
        return [re.sub(r"\d+([.]\d+)?|(?<=[(]) *(?=[)])", "0", line) for line in text.splitlines()]

    assert comparable(lively)[:9] == comparable(silent)[:9]
    assert [line for line in comparable(lively) if ".F" in line] == [
        "test_it.py .F" + " " * 80 + "[0%]"
    ]


@pytest.mark.parametrize("columns", [40, 200])
def test_it_fits_the_window(at_terminal: AtTerminal, columns: int) -> None:
    seen = at_terminal(columns=columns)
    assert b"s left" in seen.output
    check_nothing_is_left(seen)
    updates = re.findall(rb"\x1b\[B\r([^\x1b]*)\x1b\[J", seen.output)
    assert len(updates) > 4
    assert all(len(update.decode()) < columns for update in updates)
    start = seen.lines.index(next(line for line in seen.lines if line.startswith("===== serve")
                                  or re.match("=+ servebench: 2", line)))  # fmt: skip
    table = seen.lines[start:]
    assert any(re.match(r"  buffer 10 +no SLO", line) for line in table)
    assert any(re.match(r"  buffer 10 +FAILED", line) for line in table)


def test_it_survives_a_window_that_becomes_narrow_and_has_no_colours_unasked(
    at_terminal: AtTerminal,
) -> None:
    seen = at_terminal("-k", "test_load", columns=120, resize=40, NO_COLOR="1")
    assert seen.status == 0
    _, _, after = seen.output.partition(b"s left")
    later = re.findall(rb"\x1b\[B\r([^\x1b]*s left[^\x1b]*)\x1b\[J", after)
    assert all(len(update.decode()) < 40 for update in later)
    check_nothing_is_left(seen)
    assert re.findall(rb"\x1b\[[\d;]*m", seen.output) == []  # it moves the cursor all the same


@pytest.mark.parametrize(
    ("arguments", "env"),
    [(("-q", "--color=no"), {}), (("--color=no",), {"CI": "true"}), (("-p", "no:terminal"), {})],
    ids=["quiet", "ci", "no-terminal"],
)
def test_nobody_is_shown_a_live_line_who_wants_none(
    at_terminal: AtTerminal, arguments: tuple[str, ...], env: dict[str, str], directory: Path
) -> None:
    seen = at_terminal("-k", "test_load", *arguments, **env)
    assert seen.status == 0
    assert b"\x1b" not in seen.output
    assert (directory / "servebench_results" / "latest" / "run.json").is_file()
    if "-q" in arguments:
        assert "rate 40/s" in seen.text
        assert "overall evaluation" not in seen.text
        assert "machine " not in seen.text


def test_a_pipe_gets_text_alone(directory: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "-k", "test_load"], cwd=directory, env=environment(), capture_output=True,
        check=True,
    )  # fmt: skip
    assert b"rate 40/s" in done.stdout
    assert re.findall(rb"[\x00-\x09\x0b-\x1f]", done.stdout.replace(b"\r\n", b"\n")) == []


CHATTY = """
import logging, threading, time

def test_chatty(model_server, poisson_load):
    over = threading.Event()

    def chat():
        number = 0
        while not over.wait(0.1):
            number += 1
            print(f"said number {number}, which is quite a long line for a terminal like this")
            logging.getLogger("chat").warning("logged number %d", number)

    thread = threading.Thread(target=chat)
    thread.start()
    poisson_load(model_server)
    over.set()
    thread.join()
"""


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("-s", r"said number (\d+), which is quite a long line for a terminal like this"),
        ("--log-cli-level=INFO", r"WARNING  chat:test_it.py:\d+ logged number (\d+)"),
    ],
)
def test_what_a_test_says_meanwhile_is_intact(
    at_terminal: AtTerminal, directory: Path, argument: str, line: str
) -> None:
    (directory / "test_it.py").write_text(CHATTY)
    seen = at_terminal(argument)
    assert seen.status == 0
    assert b"s left" in seen.output
    check_nothing_is_left(seen)
    said = [int(found) for found in re.findall(rf"(?m){line}$", seen.text)]
    assert said == list(range(1, len(said) + 1))
    assert len(said) > 3
