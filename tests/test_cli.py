from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from pytest_servebench.cli import build_parser, main, pytest_arguments


def arguments(*command: str) -> list[str]:
    return pytest_arguments(build_parser().parse_args(["run", *command]), ())


def test_parameters_become_pytest_options() -> None:
    assert arguments(
        "--rates", "1", "5", "10", "--buffer-sizes", "10", "50", "--duration", "15",
        "--worker-threads", "10", "--tf-model", "M", "--ts-model", "N", "--tf-only",
    ) == [
        "bench_tests", "--servebench-rates=1,5,10", "--servebench-buffer-sizes=10,50",
        "--servebench-duration=15", "--servebench-worker-threads=10",
        "--servebench-tfserving-model=M", "--servebench-torchserve-model=N",
        "--servebench-servers=tensorflow_serving",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://localhost:8501"),
        ("localhost:9000", "http://localhost:9000"),
        ("[::1]", "http://[::1]:8501"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    ],
)
def test_hosts_become_urls(host: str, url: str) -> None:
    assert f"--servebench-tfserving-url={url}" in arguments("--tf-host", host)


def test_ts_host_has_torchserves_port() -> None:
    assert "--servebench-torchserve-url=http://h:8080" in arguments("--ts-host", "h")


def test_only_one_server_can_be_the_only_one() -> None:
    with pytest.raises(SystemExit):
        arguments("--tf-only", "--ts-only")


def test_missing_suite_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["run"])
    assert stop.value.code == 2
    assert "--suite='bench_tests'" in capsys.readouterr().err


def test_what_follows_goes_to_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_a="def test_a(): pass\ndef test_b(): pass")
    program = Path(sysconfig.get_path("scripts"), "pytest-servebench")  # need not be on PATH
    result = pytester.run(program, "run", "--suite", "test_a.py", "--", "-k", "test_b")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*1 passed, 1 deselected*"])
