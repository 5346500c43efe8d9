"""Records of requests, for drawings: a report goes on without those that cannot be read."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench.load.records import Records
from pytest_servebench.report.text import clean
from pytest_servebench.results import CaseResult, load_records


def read_records(case: CaseResult, directory: Path) -> tuple[Records | None, str]:
    """Return a case's records, or ``None`` and why there are none.

    Args:
        case: as it was measured.
        directory: of its run.
    """
    name = clean(case.records_file)
    try:
        records = load_records(case, directory)
    except ValueError:
        return None, f"{name} cannot be read: it is damaged"
    except OSError as error:
        return None, f"{name} cannot be read: {error.strerror}"
    if records is not None:
        return records, ""
    return None, f"{name} is missing" if name else "none were saved"
