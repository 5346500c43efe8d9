"""Annotations on the lines of a pull request, which GitHub Actions reads from the job's output.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_servebench.report.attention import capacity_reasons, reasons
from pytest_servebench.report.figures import standing
from pytest_servebench.report.outputs import Material
from pytest_servebench.runs.results import CapacityResult, CaseResult

_BY_VERDICT = {"failed": "error", "invalid": "error", "inconclusive": "warning"}


def write(made: Material) -> Iterator[str]:
    """Yield the annotations of a run; see :func:`workflow_commands`."""
    files = {nodeid: repository_path(path, made.root) for nodeid, path in made.files.items()}
    return workflow_commands(made.run.results, made.lines, files)


def workflow_commands(
    cases: Sequence[CaseResult | CapacityResult],
    lines: Mapping[str, int],
    files: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Yield a workflow command for each case whose test pytest failed or warned of.

    Args:
        cases: results.
        lines: node id to the line of its test, from 1; missing ones are left out.
        files: node id to the file of its test, relative to the repository; a missing one is taken
            from the node id.
    """
    to_blame = {case.nodeid for case in cases if case.verdict in ("failed", "invalid")}
    for case in cases:
        if not (level := _level(case)):
            continue
        if standing(case) == "test-failed" and case.nodeid in to_blame:
            continue  # because of another load of the test, which has its own annotation
        file = (files or {}).get(case.nodeid) or case.nodeid.partition("::")[0]
        place = [f"file={_property(file)}"]
        if case.nodeid in lines:
            place.append(f"line={lines[case.nodeid]}")
        word = standing(case).replace("-", " ")
        place.append(f"title={_property(f'{word}: {case.name}')}")
        texts = capacity_reasons(case) if isinstance(case, CapacityResult) else reasons(case)
        message = _message("\n".join(texts))
        yield f"::{level} {','.join(place)}::{message}"


def repository_path(path: Path, root: Path) -> str:
    """Return a file's path relative to the repository, as GitHub expects it.

    Args:
        path: the file.
        root: what the path is relative to if it is not in the job's checkout.
    """
    for base in (os.environ.get("GITHUB_WORKSPACE"), root):
        if base:
            try:
                return path.resolve().relative_to(Path(base).resolve()).as_posix()
            except ValueError:
                continue
    return path.as_posix()


def _level(case: CaseResult | CapacityResult) -> str:
    """Return the level of a case's annotation, empty for none: an error only if pytest failed."""
    if case.test_outcome in ("failed", "error"):
        return "error"
    if case.test_outcome in ("passed", "xpassed"):
        return "warning" if case.verdict == "inconclusive" else ""
    return "" if case.test_outcome else _BY_VERDICT.get(case.verdict, "")


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
