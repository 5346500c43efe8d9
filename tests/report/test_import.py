import subprocess
import sys


def test_tables_live_line_and_page_cost_no_matplotlib() -> None:
    code = (
        "import sys; import pytest_servebench.report, pytest_servebench.report.terminal, "
        "pytest_servebench.text.live, pytest_servebench.report.summary_text, "
        "pytest_servebench.report.page; "
        "sys.exit(any(name.startswith('matplotlib') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
