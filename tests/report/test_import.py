from __future__ import annotations

import subprocess
import sys


def test_tables_and_live_line_cost_no_matplotlib() -> None:
    code = (
        "import sys; import pytest_servebench.report, pytest_servebench.report.terminal, "
        "pytest_servebench.text.live, pytest_servebench.report.summary_text; "
        "sys.exit(any(name.startswith('matplotlib') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
