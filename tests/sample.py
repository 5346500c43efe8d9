"""The saved run that stays as an older version wrote it.

``python -m tests.sample`` writes it again: do that only where the schema has changed.
"""

from pathlib import Path

from simulation.saved import queue_run, save

SAMPLE = Path(__file__).parent / "data" / "sample-run"

if __name__ == "__main__":
    save(queue_run("sample-run", rates=[40.0], number=1500), SAMPLE.parent)
