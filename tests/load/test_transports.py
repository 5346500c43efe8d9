"""TLS, IPv6 and Unix sockets: the same load over other roads."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.load.job import Job
from pytest_servebench.load.runner import run_load
from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.servers.probe import ask
from tests.certificates import self_signed
from tests.load.in_process import Made
from tests.load.test_misbehaving import OK, always, assert_all, serving, spec_for
from tests.load.test_misbehaving import load as load_of


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, with its key, in one file."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@contextmanager
def secured(context: ssl.SSLContext, certificate: Path) -> Iterator[int]:
    context.load_cert_chain(certificate)

    def behave(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as wrapped:
            always(OK)(wrapped)

    with serving(behave) as port:
        yield port


@pytest.fixture
def tls_port(certificate: Path) -> Iterator[int]:
    with secured(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), certificate) as port:
        yield port


def load(target: Target, **changes: object) -> Made:
    return load_of(0, target=target, **changes)


def test_tls_with_a_trusted_certificate(tls_port: int, certificate: Path) -> None:
    target = Target.parse(f"https://localhost:{tls_port}", Tls(ca_file=str(certificate)))
    assert_all(load(target), "ok")


def assert_refused(result: Made, words: str) -> None:
    assert_all(result, "connect_error")
    assert any(words in reason for reason in result.failures)


def test_tls_refuses_certificates_of_others(tls_port: int, certificate: Path) -> None:
    untrusted = Target.parse(f"https://localhost:{tls_port}")
    assert_refused(load(untrusted), "certificate verify failed")
    named = Target.parse(f"https://127.0.0.1:{tls_port}", Tls(ca_file=str(certificate)))
    assert_refused(load(named), "IP address mismatch")


def test_tls_by_a_name_other_than_the_address(tls_port: int, certificate: Path) -> None:
    tls = Tls(ca_file=str(certificate), server_name="localhost")
    assert_all(load(Target.parse(f"https://127.0.0.1:{tls_port}", tls)), "ok")
    other = Tls(ca_file=str(certificate), server_name="elsewhere.example")
    result = load(Target.parse(f"https://localhost:{tls_port}", other))
    assert_all(result, "connect_error")
    assert any("elsewhere.example" in reason for reason in result.failures)
    assert any("--servebench-tls-server-name" in reason for reason in result.failures)


@pytest.fixture
def asking_port(certificate: Path) -> Iterator[int]:
    """A server that wants a certificate of its clients."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.verify_mode = ssl.CERT_REQUIRED
    with secured(context, certificate) as port:
        yield port


@pytest.mark.slow
def test_tls_with_a_certificate_of_the_client(asking_port: int, certificate: Path) -> None:
    url, key = f"https://localhost:{asking_port}", certificate.with_name("key.pem")
    for shown in (
        Tls(ca_file=str(certificate), cert_file=str(certificate)),  # which holds its key
        Tls(ca_file=str(certificate), cert_file=str(certificate.with_name("cert.pem")),
            key_file=str(key)),
    ):  # fmt: skip
        assert_all(load(Target.parse(url, shown)), "ok")
        assert ask(Target.parse(url, shown), HttpRequest("POST", "/p", body=b"x" * 9), 10)
    result = load(Target.parse(url, Tls(ca_file=str(certificate))))
    assert result.records.counts()["ok"] == 0


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("none.pem", None, r"--servebench-tls-cert=.*none.pem: .*PEM"),
        ("cert.pem", None, r"--servebench-tls-cert=.*cert.pem: .*--servebench-tls-key"),
        ("cert.pem", "cert.pem", r"--servebench-tls-key=.*cert.pem: .*PEM"),
        ("cert.pem", "locked.pem", r"--servebench-tls-key=.*locked.pem: .*password.*openssl pkey"),
        (None, "key.pem", r"--servebench-tls-key=.*key.pem: .*--servebench-tls-cert"),
    ],
)
def test_certificates_of_the_client_that_cannot_be_used(
    certificate: Path, cert: str | None, key: str | None, words: str
) -> None:
    locked = certificate.with_name("locked.pem")
    if key == locked.name and not locked.exists():
        subprocess.run(["openssl", "pkey", "-in", "key.pem", "-aes128", "-passout", "pass:secret",
                        "-out", locked], cwd=certificate.parent, check=True)  # fmt: skip
    files = {
        name: str(certificate.with_name(file)) if file else None
        for name, file in (("cert_file", cert), ("key_file", key))
    }
    with pytest.raises(OptionError, match=words):
        Tls(**files).context()  # type: ignore[arg-type]


def test_what_tls_is_told_survives_the_way_to_the_generator() -> None:
    tls = Tls(verify=False, ca_file="a", server_name="b", cert_file="c", key_file="d")
    spec = spec_for(0, target=Target.parse("https://h/p", tls))
    job = spec.job({3, 1})
    assert Job.from_json(job.to_json()) == job
    assert job.target == spec.target
    assert job.sampled == {1, 3}


def test_tls_without_verification(tls_port: int) -> None:
    assert_all(load(Target.parse(f"https://127.0.0.1:{tls_port}", Tls(verify=False))), "ok")


def test_tls_to_a_server_that_does_not_speak_it() -> None:
    with serving(always(OK)) as port:
        result = load(Target.parse(f"https://127.0.0.1:{port}"), timeout=0.3)
    counts = result.records.counts()
    # Each waits for the other, or either takes the other's bytes for nonsense.
    assert counts["connect_error"] + counts["timeout"] == len(result.records)


def test_unreadable_certificates_are_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.write_text("nothing")
    with pytest.raises(OptionError, match=r"--servebench-tls-ca=.*empty.pem: no certificates"):
        run_load(spec_for(0, target=Target.parse("https://localhost:1", Tls(ca_file=str(file)))))


def test_ipv6() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with serving(always(OK), listener) as port:
        assert_all(load(Target.parse(f"http://[::1]:{port}")), "ok")


def test_name_with_several_addresses_of_which_one_is_served() -> None:
    with serving(always(OK)) as port:  # on 127.0.0.1 alone; localhost may be ::1 too
        assert_all(load(Target.parse(f"http://localhost:{port}")), "ok")


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    with serving(always(OK), listener):
        target = Target(host="localhost", port=0, unix_socket=str(path))
        assert_all(load(Target.parse(target.url)), "ok")


def test_what_is_not_there(tmp_path: Path) -> None:
    socket_ = Target(host="localhost", port=0, unix_socket=str(tmp_path / "none.sock"))
    assert_refused(load(socket_), "No such file")
    assert_refused(load(Target.parse("http://nowhere.invalid:80")), "nowhere.invalid")


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://127.0.0.1:8501", "127.0.0.1:8501"),
        ("http://[::1]:80", "[::1]:80"),
        ("https://models.example", "models.example:443"),
        ("http://127.0.0.1:8501/api/v2", "127.0.0.1:8501"),
        ("http+unix://%2Frun%2Fa%25b.sock", "localhost"),
        ("http+unix://%2Frun%2Fa.sock/api", "localhost"),
        ("http+unix://%2Frun%2Fa%3Ab%40c%3F%23%5B.sock", "localhost"),
    ],
)
def test_url_and_host_header(url: str, authority: str) -> None:
    target = Target.parse(url)
    assert target.authority == authority
    assert Target.parse(target.url) == target
