"""A metric of which nothing knows but its entry in the registry stands everywhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_servebench.analysis.compare import compare
from pytest_servebench.analysis.evaluation import evaluate
from pytest_servebench.analysis.plan import plan_case
from pytest_servebench.objectives.gates import parse_gates
from pytest_servebench.objectives.slo import judge, parse_slo, with_clauses
from pytest_servebench.report.answer import answer
from pytest_servebench.report.case_details import case_text
from pytest_servebench.report.comparison_formats import as_bmf
from pytest_servebench.report.comparison_text import Block, Compared
from pytest_servebench.report.page import page
from pytest_servebench.report.plots import draw_plots
from pytest_servebench.report.terminal import report_lines
from pytest_servebench.text.tables import plain_text
from simulation import saved
from simulation.cases import mm1_records

WITH_TWO_MORE = """
import sys, types
from importlib.util import find_spec
from pathlib import Path

spec = find_spec("pytest_servebench.metrics")
source = Path(spec.origin).read_text()
for old, new in (
    ("TIMES: Final = (LATENCY,",
     "TAKEN: Final = Times('taken', 'time to a worker', 'time to a worker', 'taken.', "
     "column='dequeued')\\nTIMES: Final = (LATENCY, TAKEN,"),
    ("    *_statistics(TTFB),\\n",
     "    *_statistics(TTFB),\\n    *_statistics(TAKEN, {'p50': ('table', 'overview', 'charts', "
     "'plan', 'junit')}, {'p50': Point('taken')}),\\n"
     "    Metric('late_rate', 'late_rate', 'late', 'share that timed out', 'share', "
     "reading.estimate('late_rate'), same=0.01, outcomes=('timeout',), "
     "places=frozenset({'plan', 'junit'})),\\n"),
):
    assert source.count(old) == 1, old
    source = source.replace(old, new)
module = sys.modules[spec.name] = types.ModuleType(spec.name)
exec(compile(source, spec.origin, "exec"), module.__dict__)

import json
from tests.test_new_metric import texts
print(json.dumps(texts(Path(sys.argv[1]))))
"""


def texts(directory: Path) -> dict[str, str]:
    """Return what everything says of a case that is judged and compared by two new metrics."""
    case = saved.case(mm1_records(50, 100, 600, seed=1))
    clauses = parse_slo("taken.p50<1s, late_rate<50%")
    case = with_clauses(case, judge(clauses, case))
    run = saved.run([case])
    compared = compare(run, run, parse_gates("taken.p50:10%, late_rate:5%"))
    return {
        "SLOs": " ".join(f"{one.clause} {one.verdict}" for one in case.clauses),
        "gates": " ".join(str(one.gate) for one in compared.gates if one.judged),
        "plan": " ".join(one.metric for one in plan_case(clauses, 50.0, [case]).detectable),
        "JSON": json.dumps(case.to_dict()),
        "other tools": as_bmf(Compared([Block(compared, (), ())], every=True)),
        "page": page(run, directory),
        "details": "\n".join(case_text(case, "A", 100)),
        "table": "\n".join(map(plain_text, report_lines(run, width=200))),
        "plots": " ".join(path.name for path in draw_plots(run, directory)),
        "answer": " ".join(answer([case], evaluate([case]))),
    }


@pytest.mark.slow
def test_one_entry_in_the_registry_is_a_metric_everywhere(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITH_TWO_MORE, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [place for place, text in found.items() if "taken" not in text] == []
    drawn = ["table", "plots", "answer"]  # of shares, only the success rate is
    assert [place for place, text in found.items() if "late_rate" not in text] == drawn
