"""The kind ``openai``: servers of language models by command and by URL."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.errors import BadResponseError, OptionError, ServerStartError
from pytest_servebench.load.pacing import end_with_parent
from pytest_servebench.load.target import Target
from pytest_servebench.plugin.setups import set_up
from pytest_servebench.protocols.base import HttpAnswer
from pytest_servebench.protocols.openai import Api, OpenAiApi
from pytest_servebench.servers.base import ServerSettings, own_model
from pytest_servebench.servers.config_file import read_tables
from pytest_servebench.servers.openai import OpenAiServer
from pytest_servebench.servers.ports import accepts, free_ports
from tests.conftest import RunBench
from tests.refusals import refused

from .waiting import until

SERVER = Path(__file__).parent / "language_model.py"
KEY = "sk-of-the-tests"
TEST = """
from pytest_servebench import {asks}

def test_load(model_server, poisson_load):
    requests = {asks}([{{"prompt": "a b c", "max_tokens": 4}}], model=model_server.protocol.model)
    case = poisson_load(model_server, requests=requests)
    assert case.summary.outcomes["ok"] == len(case.records) > 3, case.failures
    assert set(case.records.streams.tokens.tolist()) == {{4}}
    assert set(case.records.streams.input_tokens.tolist()) == {{3}}
"""
TABLE = """
[servers.tiny]
kind = "openai"
model = "tiny"
key_env = "TINY_KEY"
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(port), KEY],
        preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - it takes no lock
    )
    try:
        until(lambda: accepts(Target("127.0.0.1", port), 1), 60, "the start of the server")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("asks", ["chat_requests", "completion_requests"])
def test_a_server_is_started_without_any_model_of_the_session(
    run_bench: RunBench, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, asks: str
) -> None:
    monkeypatch.setenv("TINY_KEY", KEY)
    command = [sys.executable, str(SERVER), "{port}", KEY]
    pytester.path.joinpath("servebench.toml").write_text(f"{TABLE}command = {command!r}\n")
    result = run_bench(
        "--servebench-servers=tiny", "--servebench-model=no.such:model", test=TEST.format(asks=asks)
    )
    result.assert_outcomes(passed=1)
    saved = pytester.path / "servebench_results" / "latest" / "run.json"
    assert KEY not in saved.read_text()


def test_a_running_server_is_attached_to_with_its_key(
    run_bench: RunBench, pytester: pytest.Pytester, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_KEY", KEY)
    pytester.path.joinpath("servebench.toml").write_text(f"{TABLE}url = '{url}'\n")
    run_bench("--servebench-servers=tiny", test=TEST.format(asks="chat_requests")).assert_outcomes(
        passed=1
    )


def test_predictions_of_a_model_are_refused_with_what_to_send(
    run_bench: RunBench, pytester: pytest.Pytester, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_KEY", KEY)
    pytester.path.joinpath("servebench.toml").write_text(f"{TABLE}url = '{url}'\n")
    result = run_bench("--servebench-servers=tiny")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*requests=chat_requests(*server.protocol.model*"])


@pytest.mark.parametrize(
    ("key", "model", "said"),
    [
        (KEY[::-1], "tiny", ["mine.key_env=NAME", "Incorrect API key"]),
        (KEY, "other", ["mine.model=NAME", "no model other"]),
    ],
)
def test_a_server_that_refuses_is_no_server(
    url: str, settings: ServerSettings, run_dir: Path, monkeypatch: pytest.MonkeyPatch,
    key: str, model: str, said: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("TINY_KEY", key)
    kind = OpenAiServer("mine", "Mine", url=url, model=model, key_env="TINY_KEY")
    asked = own_model(kind)
    assert asked is not None
    text = refused(lambda: kind.start(asked, settings, run_dir), said, ServerStartError)
    assert key not in text


def test_a_key_that_is_missing_is_told_when_it_is_needed(
    url: str, settings: ServerSettings, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINY_KEY", raising=False)
    kind = OpenAiServer("mine", "Mine", url=url, model="tiny", key_env="TINY_KEY")
    with pytest.raises(OptionError, match="TINY_KEY is not set"):
        kind.start(kind.own_model, settings, run_dir)


def test_a_variant_is_not_given_the_key_of_another_server(tmp_path: Path) -> None:
    variant = "[servers.other]\nkind = 'tiny'\nurl = 'http://h:2'\n"
    (tmp_path / "servebench.toml").write_text(f"{TABLE}url = 'http://h:1'\n{variant}")
    setups, unknown = set_up({}, read_tables(tmp_path), [])
    kinds = [setups[name].kind for name in ("tiny", "other")]
    assert unknown == {}
    assert [(kind.url, kind.key_env, kind.model) for kind in kinds] == [  # type: ignore[attr-defined]
        ("http://h:1", "TINY_KEY", "tiny"), ("http://h:2", "", "tiny"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "model is missing"),
        ({"model": "m"}, "url"),
        ({"model": "m", "url": "http://h:1", "protocol": "json"}, "protocol"),
        ({"model": "m", "url": "http://h:1/v1/"}, "/v1 is added"),
        ({"model": "m", "command": ("x", "{port}", "{artifact}")}, "artifact"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OpenAiServer("mine", "Mine", **options)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_it_is_asked_for_one_token(api: Api) -> None:
    kind = OpenAiServer("mine", "Mine", url="http://h:1", model="tiny", api=api)
    protocol = OpenAiApi("tiny", api)
    request = protocol.request(kind.own_model.input(0))
    assert request.path == {"chat": "/v1/chat/completions", "completions": "/v1/completions"}[api]
    assert b'"max_tokens": 1' in request.body
    right = protocol.read(HttpAnswer(200, b'{"choices": [{}]}'))
    assert kind.own_model.check(0, right) is None
    for body in (b"{}", b"[]", b"Hello", b'{"choices": []}', b'{"error": {"message": "busy"}}'):
        with pytest.raises(BadResponseError, match="choices"):
            protocol.read(HttpAnswer(200, body))
    assert own_model(kind) is not None
