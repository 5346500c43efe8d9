"""Secrets are known by their values, and stand in no text; foreign text is obeyed by nobody."""

import base64
import json
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import BadResponseError, OptionError, ServebenchWarning
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.protocols.grpc import GrpcRequest
from pytest_servebench.text.excerpt import excerpt
from pytest_servebench.text.json_text import to_json
from pytest_servebench.text.redaction import (
    HIDDEN,
    _Secrets,
    hide,
    hide_arguments,
    redact,
    redact_bytes,
    without_keys,
)
from pytest_servebench.text.safe import clean, harmless, wrapped
from tests.conftest import RunBench
from tests.load.test_misbehaving import serving


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know of no secrets of other tests, and leave none to them."""
    monkeypatch.setattr("pytest_servebench.text.redaction._secrets", _Secrets())


secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=9, max_size=40)


@given(secrets.map(lambda text: f"Zq{text}"), st.text(), st.text())
def test_no_form_of_a_secret_is_left(secret: str, before: str, after: str) -> None:
    hide(secret)
    forms = [secret, quote(secret), json.dumps(secret), base64.b64encode(secret.encode()).decode()]
    text = before + " ".join(forms) + after
    for shown in (redact(text), clean(text), harmless(text), redact_bytes(text.encode("utf-8",
                  "replace")).decode()):  # fmt: skip
        assert secret not in shown
        assert quote(secret) not in shown
    tree = to_json({f"a {secret}": [text, {"b": (secret.encode(), 1)}]})
    assert json.dumps(secret)[1:-1] not in tree


@pytest.mark.parametrize(
    "form", ["wK3-long-enough-99", "wK3-long-enou", "ng-enough-99", "wK3-long"]
)
def test_a_secret_that_was_cut_off(form: str) -> None:
    hide("wK3-long-enough-99")
    assert form not in redact(f"cut: {form}…")
    assert redact(f"cut: {form}") == f"cut: {HIDDEN}"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("Authorization", "Bearer b1-QQwwEE", "b1-QQwwEE"),
        ("authorization", "tok1x", "tok1x"),
        ("Authorization", "Basic " + base64.b64encode(b"me:pa55").decode(), "pa55"),
        ("Proxy-Authorization", "Digest d1-QQwwEE", "d1-QQwwEE"),
        ("Cookie", "a=1; sid=c1-QQwwEE", "c1-QQwwEE"),
        ("X-Api-Key", "x1-QQwwEE", "x1-QQwwEE"),
        ("api-key", "y1-QQwwEE", "y1-QQwwEE"),
        ("apikey", "z1-QQwwEE", "z1-QQwwEE"),
        ("X-Goog-Signature", "s1-QQwwEE", "s1-QQwwEE"),
        ("Ocp-Apim-Subscription-Key", "o1-QQwwEE", "o1-QQwwEE"),
    ],
)
def test_headers_that_hold_a_secret(name: str, value: str, secret: str) -> None:
    request = HttpRequest("POST", "/", ((name, value),))
    assert redact(f"the server got {value!r}, {secret}").count(secret) == 0
    assert secret not in repr(request)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "Bearer g1-QQwwEE"),
        ("x-api-key-bin", b"g1-QQwwEE"),
        ("auth-token-bin", b"\xff\x00g1-QQwwEE"),
    ],
)
def test_metadata_that_holds_a_secret(name: str, value: str | bytes) -> None:
    GrpcRequest("/a.B/C", b"", ((name, value),))
    # As a server has it, and as it was sent.
    forms = [value] if isinstance(value, str) else [
        value.decode("utf-8", "surrogateescape"), base64.b64encode(value).decode()
    ]  # fmt: skip
    for form in forms:
        assert form[-9:-2] not in redact(f"the server got {form}")


@pytest.mark.parametrize(
    "path", ["/p?api_key=k1-QQwwEE", "/p?a=1&key=k1-QQwwEE#x", "/p?X-Sig=k1%2DQQwwEE-4"]
)
def test_keys_in_a_path(path: str) -> None:
    request = HttpRequest("GET", path)
    assert "QQwwEE" not in repr(request)
    assert "/p?" in repr(request)
    with pytest.raises(OptionError) as caught:
        raise OptionError(f"{request!r} of {path} cannot be sent.")
    assert "QQwwEE" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pa55@h/new?token=QQwwEE&a=1", f"https://me:{HIDDEN}@h/new?token={HIDDEN}&a=1"),
        ("/login?next=/p#access_token=QQwwEEQQ", f"/login?next=/p#access_token={HIDDEN}"),
        ("/login?lang=en#top", "/login?lang=en#top"),
        ("http://[", "http://["),
    ],
)
def test_keys_in_a_url_that_a_server_gave(url: str, shown: str) -> None:
    assert without_keys(url) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer test"),
        ("Content-Type", "application/json"),
        ("X-Token", "ab"),
        ("Cookie", "theme=json; lang=application"),
    ],
)
def test_what_is_no_secret(name: str, value: str) -> None:
    HttpRequest("POST", "/keys?monkey=banana-bread", ((name, value),))
    text = "a test of application/json, ab and banana-bread"
    assert redact(text) == text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--api-key=tOp=SeCrEt4",),
        ("--api-key", "tOp=SeCrEt4"),
        ("--env=HF_TOKEN=tOp=SeCrEt4",),
        ("-e", "HF_TOKEN=tOp=SeCrEt4"),
    ],
)
def test_a_key_in_a_command_line(arguments: tuple[str, ...]) -> None:
    hide_arguments(("serve", *arguments, "--max-tokens=12345678", "--password", "{artifact}"))
    shown = redact(" ".join(arguments))
    assert HIDDEN in shown
    assert "SeCrEt4" not in shown
    assert redact("12345678 {artifact}") == "12345678 {artifact}"


def test_short_ones_are_words_of_their_own() -> None:
    hide("r7q")
    hide("r7qx")
    assert redact("r7q r7qx r7qxy") == f"r7q {HIDDEN} r7qxy"


def test_secrets_that_begin_or_end_alike() -> None:
    for secret in ("sk-live-AbCdEf12", "sk-live-XyZzY934", "1234-same-end", "5678-same-end"):
        hide(secret)
    shown = redact("sk-live-XyZzY934 sk-live-XyZ… sk-live-AbCdEf12 5678-same-end 8-same-end")
    assert shown == f"{HIDDEN} {HIDDEN}… {HIDDEN} {HIDDEN} {HIDDEN}"


def test_thousands_of_secrets() -> None:
    """Each request of a load may have its own."""
    for number in range(2000):
        hide(f"tok-{number:06}-Qx")
    text = " ".join(f"tok-{number:06}-Qx" for number in range(0, 2000, 400)) + " tok-001999"
    assert redact(text) == " ".join([HIDDEN] * 6)
    assert redact("nothing here") == "nothing here"
    assert b"tok-" not in redact_bytes(text[:-11].encode())


def test_a_body_is_cut_after_it_was_redacted() -> None:
    hide("wX9-" + 40 * "s")
    body = b"a" * 180 + b"wX9-" + 40 * b"s" + b"b" * 300
    assert "ssss" not in excerpt(body)


@given(st.text())
def test_errors_and_warnings_are_harmless(text: str) -> None:
    for made in (BadResponseError(text), ServebenchWarning(text)):
        for line in str(made).split("\n"):
            assert line.isprintable()
            assert not line.lstrip().startswith("::")
            assert "##[" not in line
    assert "\n" not in clean(text)
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize("command", ["::error::made up", "  ::add-mask::x", "##[error]made up"])
def test_commands_of_a_ci(command: str) -> None:
    shown = [clean(f"it said {command}"), harmless(f"it said\n{command}\n"), clean(command)]
    shown += wrapped("", "x" * 28 + command.strip(), 30)
    for line in "\n".join(shown).splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line
    assert clean("a.py::test_b[c::d]") == "a.py::test_b[c::d]"


def echo(link: socket.socket) -> None:
    """Answer with what was asked, and what a terminal and a CI would obey."""
    while head := link.recv(65536):
        body = "\x1b]0;title\x07\x9b31m\u202e\r\n::error::made up\n".encode() + head
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


CHECKS = {
    "assertion": "assert answer.body.decode() == 'right'",
    "error": "raise BadResponseError(answer.body.decode())",
    "error-in-one-line": "raise BadResponseError(' '.join(answer.body.decode().split('\\n')))",
    "own-exception": "raise ValueError(answer.body)",
}


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_a_server_that_echoes_its_headers(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("SECRET", "sk-live-4f9c2e77")
    with serving(echo) as port:
        url = f"http://127.0.0.1:{port}"
        result = run_bench(
            "--junitxml=junit.xml", "--servebench-markdown=summary.md", "--showlocals", "-rA",
            "--servebench-page=true",
            test=f"""
            import os
            from pytest_servebench import BadResponseError, HttpRequest

            def check(request, answer):
                {check}

            def test_load(poisson_load):
                headers = (("Authorization", "Bearer " + os.environ["SECRET"]),
                           ("X-Api-Key", "second" + os.environ["SECRET"][::-1]))
                case = poisson_load({url!r}, requests=[HttpRequest("POST", "/p", headers)],
                                    check=check)
                print("::error::printed by the test,", headers)
                first = next(iter(case.result.failures))
                assert first == headers
            """,
        )  # fmt: skip
    assert_clean(result.stdout.str(), "the terminal")
    result.stdout.fnmatch_lines([f"*{HIDDEN}*"])
    kept = [path for path in Path().rglob("*") if path.suffix in TEXTS]
    assert {path.name for path in kept} >= {"junit.xml", "summary.md", "run.json", "report.html"}
    for path in kept:
        assert_clean(path.read_text(), path.name)


TEXTS = {".xml", ".md", ".json", ".txt", ".html"}


def assert_clean(text: str, where: str) -> None:
    for secret in ("4f9c2e77", "77e2c9f4"):
        assert secret not in text, where
    for sign in "\x1b\x07\x9b\u202e":
        assert sign not in text, where
    lines = [line.strip() for line in text.splitlines()]
    commands = [line for line in lines if line.startswith("::")]
    assert not [line for line in commands if line.startswith("::error::")], where


def test_a_password_in_a_url_is_not_shown(run_bench: RunBench) -> None:
    result = run_bench(
        "--junitxml=junit.xml",
        test="""
        def test_load(poisson_load):
            secret = "".join(reversed("2retnuh"))
            poisson_load(f"http://me:{secret}@127.0.0.1:1/?api_key={secret}x", requests=[])
        """,
    )
    result.assert_outcomes(failed=1)
    assert "hunter2" not in result.stdout.str()
    assert "hunter2" not in Path("junit.xml").read_text()
