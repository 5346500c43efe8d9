"""Markdown for the summary of a CI job, and annotations on a pull request."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.report.annotations import workflow_commands
from pytest_servebench.report.markdown import escaped, markdown
from tests.conftest import RunBench
from tests.report.made_runs import case, run


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.replace(r"\|", "¦").splitlines()
        if line.startswith("|")
    ]


def test_every_table_has_rows_of_one_length_and_the_verdicts() -> None:
    one = case()
    broken = tuple(dataclasses.replace(clause, verdict="failed") for clause in one.clauses)
    failed = dataclasses.replace(one, verdict="failed", clauses=broken)
    text = markdown(run([case(), failed]))
    found = rows(text)
    assert len({len(row) for row in found}) == 1
    assert "FAILED" in [cell for row in found for cell in row]
    assert "❌ **failed**" in text
    assert "savedmodel-server 0.1.0" in text  # a stand-in is never passed off as the real one
    assert text.endswith("\n")


def test_a_server_by_url_is_named_once() -> None:
    one = case(attached=True)
    url = "server at http://127.0.0.1:8000"
    server = dataclasses.replace(one.server, title=url, implementation=url)
    (named,) = (row[0] for row in rows(markdown(run([dataclasses.replace(one, server=server)])))
                if "http" in row[0])  # fmt: skip
    assert named == url


@given(st.text(max_size=40))
def test_no_text_breaks_out_of_its_cell(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown
    assert "|" not in shown.replace(r"\|", "")
    assert "<" not in shown.replace(r"\<", "")


def test_annotations_name_file_line_and_reason() -> None:
    bad = dataclasses.replace(case(), verdict="invalid", invalid_reason="100 % busy,\nreally")
    good = dataclasses.replace(case(), verdict="passed")
    assert list(workflow_commands([good], {})) == []
    (text,) = workflow_commands([bad], {bad.nodeid: 16})
    assert text.startswith("::error file=bench_tests/test_serving.py,line=16,title=invalid%3A ")
    assert text.endswith("::100 %25 busy, really")


def test_annotations_and_markdown_of_a_real_run(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    Path("summary.md").write_text("before\n")
    result = run_bench("--servebench-slo=p50<1us", "--servebench-markdown=summary.md")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["::error file=test_it.py,line=3,title=failed*::p50<1us: broken*"])
    text = Path("summary.md").read_text()
    assert text.startswith("before\n### servebench: 1 case, Toy")


def test_no_annotations_elsewhere(run_bench: RunBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert "::error" not in run_bench("--servebench-slo=p50<1us").stdout.str()
