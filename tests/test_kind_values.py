"""Options of a kind of server: how they are written, typed, overruled and refused."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_servebench.errors import OptionError, ServebenchWarning
from pytest_servebench.plugin.option_reading import read_settings
from pytest_servebench.plugin.option_values import KindValue, read_kind_value
from pytest_servebench.plugin.setups import set_up
from pytest_servebench.servers.base import ServerKind
from pytest_servebench.servers.kind_options import OPTION, option, options_of
from pytest_servebench.text.redaction import redact
from tests.conftest import RunBench
from tests.toy import ToyKind


def _even(text: str) -> int:
    if int(text) % 2:
        raise ValueError("give an even number")
    return int(text)


@dataclass(frozen=True)
class Kind(ToyKind):
    name: str = "mine"
    text: str = option("", "a text")
    whole: int = option(1, "a whole number")
    number: float | None = option(None, "a number")
    flag: bool = option(False, "a flag")
    file: Path | None = option(None, "a file")
    mode: Literal["fast", "exact"] = option("fast", "how it computes")
    even: int = option(2, "an even number", read=_even)
    key: str = option("", "a key", secret=True)


def with_options(kinds: dict[str, Any], values: list[KindValue]) -> dict[str, ServerKind]:
    setups, _ = set_up(kinds, {}, values)
    return {name: setup.kind for name, setup in setups.items()}


def read(*texts: str, source: str = OPTION) -> Any:
    values = [
        KindValue(each.kind, each.key, each.value, source, Path("/from"))
        for text in texts
        for each in read_kind_value(text)
    ]
    return with_options({"mine": Kind(), "other": ToyKind("other")}, values)["mine"]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("mine.text=a=b.c", "text", "a=b.c"),
        (" mine.text = two words ", "text", "two words"),
        ("mine.text=", "text", ""),
        ("mine.whole=7", "whole", 7),
        ("mine.number=0.5", "number", 0.5),
        ("mine.flag=yes", "flag", True),
        ("mine.file=a/b", "file", Path("/from/a/b")),
        ("mine.file=/a", "file", Path("/a")),
        ("mine.mode=exact", "mode", "exact"),
        ("mine.even=4", "even", 4),
    ],
)
def test_values_have_their_types(text: str, key: str, value: object) -> None:
    kind = read(text)
    assert getattr(kind, key) == value
    assert type(getattr(kind, key)) is type(value)


def test_the_last_one_counts() -> None:
    assert read("mine.whole=1", "mine.text=x", "mine.whole=2") == Kind(whole=2, text="x")
    assert read() == Kind()


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("mine.whole=x", ("=mine.whole=x", "whole number")),
        ("mine.flag=maybe", ("mine.flag=maybe", "true or false")),
        ("mine.mode=slow", ("mine.mode=slow", "fast, exact")),
        ("mine.even=3", ("mine.even=3", "give an even number")),
        ("mine.file=", ("mine.file=", "path")),
        ("mine.txt=x", ("mine.txt", "'text'", "whole, number")),
        ("mine.colour=x", ("mine.colour", "whole (a whole number)", "workers (how many")),
        ("other.text=x", ("other has no option 'text'", "workers (how many")),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(text: str, facts: tuple[str, ...]) -> None:
    for source in (OPTION, "servebench_server_option (ini)"):
        with pytest.raises(OptionError) as caught:
            read(text, source=source)
        assert all(fact in str(caught.value) for fact in (*facts, source)), str(caught.value)


@pytest.mark.parametrize("text", ["mine", "mine=1", "mine.text", ".text=1", "mine.=1"])
def test_another_form_is_refused(pytester: pytest.Pytester, text: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_settings(pytester.parseconfig(f"{OPTION}={text}"))
    assert f"{OPTION}={text!r}" in str(caught.value)
    assert "KIND.KEY=VALUE" in str(caught.value)


def test_a_kind_that_may_be_beside_other_tests() -> None:
    assert read("elsewhere.text=x", source="servebench_server_option (ini)") == Kind()
    with pytest.raises(OptionError, match=r"unknown server kind 'elsewhere'\. Known.*mine, other"):
        read("elsewhere.text=x")
    with pytest.raises(OptionError, match=r"'mime', did you mean 'mine'\? Known"):
        read("mime.text=x")


def test_a_kind_that_may_be_a_typo_is_a_warning_in_an_ini_file(
    run_bench: RunBench, pytester: pytest.Pytester
) -> None:
    with pytest.warns(ServebenchWarning, match="'mime', did you mean 'mine'"):
        assert read("mime.text=x", source="servebench_server_option (ini)") == Kind()
    result = run_bench("-W", "error", "-o", "servebench_server_option=torchserv.url=http://h:1")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*'torchserv', did you mean 'torchserve'?*"])


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVEBENCH_MINE_KEY", "tOpSeCrEt1")
    kind = read()
    assert kind.key == "tOpSeCrEt1"
    assert "tOpSeCrEt1" not in repr(kind)
    assert "tOpSeCrEt1" not in redact("its key is tOpSeCrEt1")
    with pytest.raises(OptionError, match="SERVEBENCH_MINE_KEY") as caught:
        read("mine.key=other-secret")
    assert "other-secret" not in str(caught.value)


def test_a_secret_has_its_type_too(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Locked(ToyKind):
        name: str = "locked-away"
        pin: int = option(0, "a number of 4 digits", secret=True)

    kinds = {"locked-away": Locked()}
    monkeypatch.setenv("SERVEBENCH_LOCKED_AWAY_PIN", "12345678")
    assert with_options(kinds, []) == {"locked-away": Locked(pin=12345678)}
    for wrong, reason in (("sEcReT-1x", "a whole number"), ("-9", "fewer than 4 characters")):
        monkeypatch.setenv("SERVEBENCH_LOCKED_AWAY_PIN", wrong)
        with pytest.raises(OptionError) as caught:
            with_options(kinds, [])
        message = str(caught.value)
        assert all(fact in message for fact in ("SERVEBENCH_LOCKED_AWAY_PIN", "4 digits", reason))
        assert wrong not in message


def test_a_reason_does_not_repeat_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Locked(ToyKind):
        name: str = "locked"
        pin: int = option(0, "a number", secret=True, read=_even)

    monkeypatch.setenv("SERVEBENCH_LOCKED_PIN", "sEcReT-2x")
    with pytest.raises(OptionError, match=r"invalid literal.*hidden") as caught:
        with_options({"locked": Locked()}, [])
    assert "sEcReT" not in str(caught.value)


def test_options_that_do_not_go_together_are_refused_by_their_kind() -> None:
    @dataclass(frozen=True)
    class Choosy(ToyKind):
        name: str = "choosy"
        low: int = option(1, "the least")

        def __post_init__(self) -> None:
            if self.low > 5:
                raise ValueError("the least is above the most")

    with pytest.raises(OptionError, match=f"{OPTION}=choosy.low: the least is above the most"):
        with_options({"choosy": Choosy()}, [KindValue("choosy", "low", "9", OPTION)])


def test_types_that_are_there_for_the_type_checker_alone() -> None:
    unknown: Any = "OnlyForTheTypeChecker"
    plain = make_dataclass("Plain", [("name", str, "plain"), ("program", unknown, None)])
    assert options_of(plain()) == {}
    optional = make_dataclass("Optional", [("program", unknown, option(None, "what to run"))])
    with pytest.raises(OptionError, match=r"Optional.*OnlyForTheTypeChecker.*TYPE_CHECKING"):
        options_of(optional())


def test_a_type_that_no_text_tells_is_the_kinds_fault() -> None:
    @dataclass(frozen=True)
    class Wrong(ToyKind):
        name: str = "wrong"
        words: tuple[str, ...] = option((), "words")

    value = KindValue("wrong", "words", "a", OPTION)
    with pytest.raises(OptionError, match=r"'words'.*option\(read="):
        with_options({"wrong": Wrong()}, [value])


def test_the_command_line_comes_before_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        "[pytest]\nservebench_server_option =\n  mine.file = a\n  mine.whole = 1\n  mine.text=x\n"
    )
    below = pytester.mkdir("below")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(below)
        config = pytester.parseconfig(f"{OPTION}=mine.whole=2", f"{OPTION}=mine.python=p")
    values = read_settings(config).kind_values
    assert [(each.key, each.value) for each in values] == [
        ("file", "a"), ("whole", "1"), ("text", "x"), ("whole", "2"), ("python", "p")
    ]  # fmt: skip
    assert [each.directory for each in values] == [pytester.path] * 3 + [below] * 2


def test_they_are_judged_before_anything_starts(run_bench: RunBench) -> None:
    refused = run_bench(f"{OPTION}=torchserve.ulr=http://h:1")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines([f"*{OPTION}=torchserve.ulr*did you mean 'url'*"])
    run_bench(f"{OPTION}=torchserve.url=http://h:1").assert_outcomes(passed=1)
