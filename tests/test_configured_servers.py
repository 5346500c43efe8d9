"""Servers of the configuration file: how tables are found, read, combined and refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.errors import OptionError, ServebenchError
from pytest_servebench.model import ServedModel
from pytest_servebench.plugin.option_values import KindValue, read_kind_value
from pytest_servebench.plugin.setups import Setup, set_up
from pytest_servebench.servers import builtin_kinds
from pytest_servebench.servers.base import ServerKind, ServerSettings
from pytest_servebench.servers.config_file import read_tables
from pytest_servebench.servers.kind_options import OPTION, option, set_options
from pytest_servebench.text.redaction import redact
from tests.conftest import RunBench
from tests.toy import ToyKind

ADDER = """
[servers.adder]
command = ["{python}", "app.py", "{port}", "{workers}"]
protocol = "tensorflow-serving"
"""


@dataclass(frozen=True)
class Mine:
    """A kind with options, and a name that is an attribute of its class."""

    name = "mine"
    title = "My server"
    attached = False

    file: Path | None = option(None, "a file")
    words: tuple[str, ...] = option((), "words", read=lambda text: tuple(text.split("+")))
    properties: Mapping[str, str] | None = option(None, "properties", read=lambda text: {"": text})
    size: int = option(1, "a size")
    fast: bool = option(False, "a flag")
    url: str = option("", "a URL")


def known(directory: Path, toml: str, *texts: str, file: str = "servebench.toml") -> Any:
    """Return the servers that a file and the command line give, and the unknown ones."""
    (directory / file).write_text(toml)
    kinds: list[ServerKind] = [*builtin_kinds(), Mine(), ToyKind("toy")]  # type: ignore[list-item]
    values = [
        KindValue(each.kind, each.key, each.value, OPTION, Path("/from"))
        for text in texts
        for each in read_kind_value(text)
    ]
    return set_up({kind.name: kind for kind in kinds}, read_tables(directory), values)


def server(directory: Path, name: str, toml: str, *texts: str) -> Setup:
    setup: Setup = known(directory, toml, *texts)[0][name]
    return setup


def test_a_command(tmp_path: Path) -> None:
    toml = (
        ADDER + 'env = { N = 1, DEBUG = true }\npython = "env/bin/python"\nstart-timeout = "2min"'
    )
    found = server(tmp_path, "adder", toml)
    kind: Any = found.kind
    assert (kind.name, kind.title, kind.home) == ("adder", "adder", tmp_path)
    assert kind.command == ("{python}", "app.py", "{port}", "{workers}")
    assert kind.env == {"N": "1", "DEBUG": "true"}
    assert kind.python == tmp_path / "env" / "bin" / "python"
    assert found.artifacts == ()
    common = ServerSettings(cpus=(0,), workers=2)
    assert found.settings(common) == ServerSettings(cpus=(0,), workers=2, start_timeout=120)


def test_the_file_of_a_project_has_them_below_tool(tmp_path: Path) -> None:
    toml = "[tool.other]\nx = 1\n" + ADDER.replace("[servers", "[tool.servebench.servers")
    assert list(known(tmp_path, toml, file="pyproject.toml")[0])[-1] == "adder"
    (tmp_path / "servebench.toml").write_text("servers = {}")
    assert list(read_tables(tmp_path)) == ["adder"]
    with pytest.raises(OptionError, match=r"pyproject\.toml and servebench\.toml"):
        known(tmp_path, ADDER)


def test_encodings_of_a_file(tmp_path: Path) -> None:
    """Editors and shells of Windows write a byte order mark, or UTF-16."""
    file = tmp_path / "servebench.toml"
    file.write_text(ADDER, encoding="utf-8-sig")
    assert list(read_tables(tmp_path)) == ["adder"]
    file.write_text(ADDER, encoding="utf-16")
    with pytest.raises(OptionError, match="as UTF-8"):
        read_tables(tmp_path)


def test_a_variant_has_what_its_base_has_and_its_own(tmp_path: Path) -> None:
    toml = """
        [servers.mine]
        title = "Renamed"
        file = "a/b"
        words = ["x", "y"]
        threads = 3

        [servers.mine-big]
        kind = "mine"
        title = "Big"
        size = 8
        properties = { a = 1, b = false }
        workers = 2

        [servers.bigger]
        kind = "mine-big"
        size = 16
        properties = { b = "x" }
        cpus = [0]
    """
    texts = ("mine.fast=true", "mine.url=http://h:1", "bigger.words=p+q", "bigger.workers=4",
             "bigger.properties=y")  # fmt: skip
    setups, unknown = known(tmp_path, toml, *texts)
    assert unknown == {}
    file, words = tmp_path / "a" / "b", ("x", "y")
    properties, more = {"a": "1", "b": "false"}, {"a": "1", "b": "x", "": "y"}
    assert setups["mine"].kind == Mine(file, words, fast=True, url="http://h:1")
    assert setups["mine-big"].kind == Mine(file, words, properties, 8, fast=True)
    assert setups["bigger"].kind == Mine(file, ("p", "q"), more, 16, fast=True)
    found = (setups[name] for name in ("mine", "mine-big", "bigger"))
    assert [(each.kind.name, each.kind.title, each.bases, each.own) for each in found] == [
        ("mine", "Renamed", (), {"threads": 3}),
        ("mine-big", "Big", ("mine",), {"threads": 3, "workers": 2}),
        ("bigger", "bigger", ("mine-big", "mine"),
         {"threads": 3, "workers": 4, "cpus": (0,)}),
    ]  # fmt: skip


def test_a_secret_is_for_one_server_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = "[servers.t-2]\nkind = 'torchserve'\nurl = 'http://127.0.0.1:1'\n"
    monkeypatch.setenv("SERVEBENCH_TORCHSERVE_TOKEN", "k3y-of-the-base")
    setups, _ = known(tmp_path, toml)
    assert setups["torchserve"].kind.token == "k3y-of-the-base"
    assert setups["t-2"].kind.token == ""
    monkeypatch.setenv("SERVEBENCH_T_2_TOKEN", "k3y-of-its-own")
    assert known(tmp_path, toml)[0]["t-2"].kind.token == "k3y-of-its-own"
    with pytest.raises(OptionError, match=r"t-2 and t_2 .*SERVEBENCH_T_2_TOKEN: .*another name"):
        known(tmp_path, f"{toml}[servers.t_2]\nkind = 'torchserve'")


def test_a_variant_serves_what_its_base_serves_or_its_own(tmp_path: Path) -> None:
    found = server(tmp_path, "v2", '[servers.v]\nkind="mine"\n[servers.v2]\nkind="v"')
    assert found.artifacts == ("v2", "v", "mine")
    model = ServedModel(
        "m", {"mine": Path("/mine"), "toy": Path("/toy")}, np.zeros((1, 1)), np.zeros((1, 1)),
        served_names={"v": "other"},
    )  # fmt: skip
    seen = found.model(model)
    assert seen.artifacts == {"toy": Path("/toy"), **dict.fromkeys(found.artifacts, Path("/mine"))}
    assert seen.served_name("v2") == "other"
    own = ServedModel("m", {"mine": Path("/mine"), "v2": Path("/v2")}, model.inputs, model.outputs)
    # The kind may look for it by the name that its class has.
    assert set(found.model(own).artifacts.values()) == {Path("/v2")}


@pytest.mark.parametrize(
    ("toml", "fact"),
    [
        ("kind = 'tensorflow_serving'\nbinary = '/nope'", "t.binary=/nope"),
        ("kind = 'tensorflow_serving'\nmodel_config_file = '/nope'", "t.model_config_file=/nope"),
        ("kind = 'torchserve'\nurl = 'http://127.0.0.1:1'", "SERVEBENCH_T_TOKEN has"),
    ],
)
def test_an_error_names_the_option_of_a_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toml: str, fact: str
) -> None:
    program = tmp_path / "tensorflow_model_server"
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SERVEBENCH_T_TOKEN", "two words")
    setup = server(tmp_path, "t", f"[servers.t]\n{toml}")
    with pytest.raises(ServebenchError, match=re.escape(fact)):
        setup.kind.start(ServedModel("m", {}), ServerSettings(cpus=()), tmp_path)


def test_what_changes_a_measurement_is_recorded(tmp_path: Path) -> None:
    """Paths, addresses and names at the server do not, and keys are hidden."""
    toml = (
        ADDER
        + """
        title = "T"
        python = "env/bin/python"
        env = { B = "{threads}", API_KEY = "tOpSeCrEt3" }
        ready = "/r"
        model = "m"
        [servers.mine]
        file = "a"
        words = ["x", "y"]
        properties = { b = 2, a = true }
        fast = true
        size = 1
    """
    )
    setups, _ = known(tmp_path, toml)
    adder = {name: redact(text) for name, text in set_options(setups["adder"].kind).items()}
    assert adder == {
        "command": "{python} app.py {port} {workers}",
        "env": "API_KEY=[key hidden] B={threads}",
    }
    options = {"words": "x y", "properties": "a=true b=2", "fast": "true"}
    assert set_options(setups["mine"].kind) == options
    assert set_options(setups["toy"].kind) == {}


def test_what_a_command_serves(tmp_path: Path) -> None:
    used = ADDER + 'env = { MODEL = "{artifact}" }\n'
    assert server(tmp_path, "adder", used).artifacts == ("adder",)
    assert not server(tmp_path, "adder", used).chose_artifact
    chosen = server(tmp_path, "adder", used + 'artifact = "onnx"')
    assert (chosen.artifacts, chosen.chose_artifact) == (("onnx",), True)
    path = server(tmp_path, "adder", used + 'artifact = "./model.onnx"')
    assert path.artifacts == ()
    assert path.kind.artifact == tmp_path / "model.onnx"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("toml", "facts"),
    [
        ("[servers", ["servebench.toml", "not valid TOML", "']'"]),
        ("[server.x]", ["servebench.toml", "'server'", "'servers'", "[servers.NAME]"]),
        ("servers = 3", ["servers is 3", "table"]),
        ("[servers]\nx = 1", ["servers.x is 1", "[servers.x]"]),
        ('[servers."a b"]', ["a b", "letters"]),
        ("[servers.fast-rate10]", ["fast-rate10", "test ids"]),
        (ADDER + "workers = 'many'", ["[servers.adder] workers = 'many'", "whole number"]),
        (ADDER + "workers = {}", ["[servers.adder] workers", "number"]),
        (ADDER + "readi = '/x'", ["[servers.adder] readi", "'ready'", "workers"]),
        (ADDER + "tite = 'x'", ["[servers.adder] tite", "'title'"]),
        (ADDER + "title = 1", ["[servers.adder] title = 1", "quotes"]),
        (ADDER + "ready = 1", ["[servers.adder] ready = 1", "quotes"]),
        (ADDER + "ready = ['x']", ["[servers.adder] ready", "not a list"]),
        (ADDER + "ready = 'x'", ["[servers.adder]: ready = 'x'", "slash"]),
        (ADDER + "python = {}", ["[servers.adder] python", "not a table"]),
        (ADDER + "fatal = [3]", ["[servers.adder] fatal", "3 is not a string"]),
        (ADDER + "fatal = ['(']", ["[servers.adder]: fatal", "'('", "regular expression"]),
        (ADDER + "env = 'N'", ["[servers.adder] env", "NAME=VALUE"]),
        (ADDER + "env = { N = '{prot}' }", ["env.N: ", "{prot}", "'port'", "{scratch}"]),
        (ADDER + "env = { N = '{' }", ["env.N: ", "'{{'"]),
        (ADDER + "env = { 'A=B' = '1' }", ["env: 'A=B'", "NAME"]),
        (ADDER + 'env = { N = "\\u0000" }', ["env.N: ", "NUL"]),
        (ADDER + "ready = '/a b'", ["ready = '/a b'", "quote spaces"]),
        (ADDER.replace("{port}", "80"), ["[servers.adder]: ", "{port}"]),
        (ADDER.replace("-serving", "-servin"),
         ["[servers.adder]: protocol = 'tensorflow-servin'", "tensorflow-serving"]),
        (ADDER.replace("protocol", "#"), ["[servers.adder]: protocol is missing", "torchserve"]),
        ("[servers.adder]\ncommand = []", ["[servers.adder]: give a command"]),
        ("[servers.a]\nkind = 'torchserve'\nurl = 'http://u:p@h:1'", ["[servers.a] url: ", "user"]),
        ("[servers.toy]\nkind = 'mine'", ["[servers.toy] kind = 'mine'", "another name"]),
        ("[servers.toy]\nsize = 3", ["[servers.toy] size", "toy has no option"]),
        ("[servers.mine]\nqqq = 3", ["[servers.mine] qqq", "file (a file)", "cpus (CPUs"]),
        ("[servers.a]\nkind='b'\n[servers.b]\nkind='a'", ["kind is circular: a -> b -> a"]),
        ("[servers.a]\nkind='a'\nurl='http://h:1'", ["kind is circular: a -> a"]),
        ("[servers.a]\nkind = 3", ["[servers.a] kind = 3", "quotes"]),
        ("[servers.t]\nkind='torchserve'\ntoken='tOpSeCrEt2'", ["SERVEBENCH_T_TOKEN"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_file_and_remedy(
    tmp_path: Path, toml: str, facts: list[str]
) -> None:
    with pytest.raises(OptionError) as caught:
        known(tmp_path, toml)
    message = str(caught.value)
    assert all(fact in message for fact in ["servebench.toml", *facts]), message
    assert "tOpSeCrEt2" not in message


@pytest.mark.parametrize(
    ("toml", "facts"),
    [
        ("[servers.a]\nkind = 'min'", ["[servers.a] kind = 'min'", "'mine'", "torchserve"]),
        ("[servers.a]\ncomand = []", ["[servers.a]: ", "command", "'comand'", "kind"]),
        ("[servers.b]\nkind = 'other'\n[servers.a]\nkind = 'b'", ["[servers.b] kind = 'other'"]),
    ],
)
def test_a_kind_that_may_be_beside_other_tests(tmp_path: Path, toml: str, facts: list[str]) -> None:
    """It is an error only where such a server is needed."""
    _, unknown = known(tmp_path, toml)
    assert all(fact in unknown["a"] for fact in ["servebench.toml", *facts]), unknown


def test_a_kind_whose_name_is_fixed_has_no_variants(tmp_path: Path) -> None:
    class Fixed(ToyKind):
        name = property(lambda _: "fixed")

        def __init__(self) -> None:
            pass

    (tmp_path / "servebench.toml").write_text("[servers.v]\nkind = 'fixed'")
    with pytest.raises(OptionError, match=r"v: fixed cannot have variants.*Fixed"):
        set_up({"fixed": Fixed()}, read_tables(tmp_path), [])


@pytest.mark.slow
def test_variants_in_a_session(
    run_bench: RunBench, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are servers of their own: in ids, tables, warnings and files."""
    monkeypatch.setenv("TOY_EXPOSED", "0.0.0.0:80 [::]:80")
    (pytester.path / "servebench.toml").write_text(
        "[servers.toy-4]\nkind = 'toy'\nworkers = 4\n[servers.broken]\nkind = 'nowhere'\n"
        "[servers.typo]\ncommand = ['{artifact}', '{port}']\nprotocol = 'json'\nartifact = 'tooy'"
    )
    result = run_bench("--servebench-servers=toy,toy-4", "-v", "-W", "error")
    result.assert_outcomes(passed=2, warnings=2)
    result.stdout.fnmatch_lines([
        "*test_load?toy-rate40-buffer10?*", "*test_load?toy-4-rate40-buffer10?*",
        "*2 cases, Toy and toy-4*",
    ])  # fmt: skip
    result.stdout.fnmatch_lines(["*ExposedServerWarning: toy-4 listens on 0.0.0.0:80 and *:80*"])
    text = next(pytester.path.glob("servebench_results/2*/run.json")).read_text()
    assert '"title": "toy-4"' in text
    assert '"workers": 4' in text
    for name in ("toy", "toy-4"):
        chosen = run_bench("--servebench-servers=toy,toy-4", "--collect-only", "-q",
                           "-m", f"servebench(server={name!r})")  # fmt: skip
        assert [line for line in chosen.outlines if "::" in line] == [
            f"test_it.py::test_load[{name}-rate40-buffer10]"
        ]
    refused = run_bench("--servebench-servers=broken")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*servebench.toml: ?servers.broken? kind = 'nowhere'*"])
    missing = run_bench("--servebench-servers=typo")  # a skipped test would pass
    missing.assert_outcomes(errors=1)
    missing.stdout.fnmatch_lines(["*typo.artifact*'tooy', did you mean 'toy'? It has toy, toy2.*"])
