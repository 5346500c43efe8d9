"""What a session of pytest without loads pays for the plugin that is installed beside it."""

import json
import subprocess
import sys
from textwrap import dedent

import pytest

from tests.conftest import RunBench
from tests.results import saved_case

OURS = {
    "pytest_servebench" + name
    for name in (
        "", "._version", ".analysis", ".analysis.allowable", ".plugin", ".plugin.benchmark_bridge",
        ".plugin.fixtures", ".plugin.hooks", ".plugin.hookspecs", ".plugin.option_values",
        ".plugin.options", ".plugin.own_fixtures", ".plugin.state", ".report", ".report.outputs",
    )
}  # fmt: skip
CONFTEST = """
import json, sys

def pytest_unconfigure():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def _loaded(pytester: pytest.Pytester, *arguments: str) -> set[str]:
    """Return the modules that a session of one trivial test has imported at its end."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", *arguments)
    result.assert_outcomes(passed=1)
    return set(json.loads((pytester.path / "modules.json").read_text()))


def test_a_session_without_loads_imports_next_to_nothing(pytester: pytest.Pytester) -> None:
    with_plugin, without = _loaded(pytester), _loaded(pytester, "-p", "no:servebench")
    added = with_plugin - without
    ours = {name for name in added if name.partition(".")[0] == "pytest_servebench"}
    assert ours == OURS
    others = {name.partition(".")[0] for name in added - ours}
    assert others <= sys.stdlib_module_names, "no NumPy, psutil, uvloop, jinja2 and the like"
    assert not others & {"asyncio", "ssl", "decimal", "email", "urllib"}
    assert not (pytester.path / "servebench_results").exists()


def test_the_package_alone_imports_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import pytest_servebench; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert set(result.stdout.split()) - sys.stdlib_module_names == {"pytest_servebench"}


@pytest.mark.slow
def test_the_first_load_may_turn_up_while_a_test_runs(run_bench: RunBench) -> None:
    """The hook around the test is under way then, and judges the load all the same."""
    test = """
        import pytest

        @pytest.mark.slo("p50<1us")
        def test_it(request):
            server = request.getfixturevalue("model_server")
            request.getfixturevalue("poisson_load")(server)
    """
    result = run_bench("--servebench-rates=400", test=dedent(test), subprocess=True)
    result.assert_outcomes(failed=1)
    assert "p50" in result.stdout.str()
    assert saved_case()["test_outcome"] == "failed"
