"""Records of a case's requests; reports and comparisons work without unreadable ones."""

from pathlib import Path

from pytest_servebench.load.records import Records
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.system.files import inside
from pytest_servebench.text.safe import clean


def read_records(case: CaseResult, directory: Path | None) -> tuple[Records | None, str]:
    """Return a case's records, or ``None`` and the reason.

    Args:
        case: as it was measured.
        directory: of its run; ``None`` for records in memory alone.
    """
    if case.records is not None:
        return case.records, ""
    if not case.records_file or directory is None:
        return None, "none were saved"
    name = clean(case.records_file)
    try:
        path = inside(directory, case.records_file)
        if path.is_file():
            return Records.load(path, case.summary.arrivals), ""
    except ValueError:
        return None, f"{name} cannot be read: it is damaged"
    except OSError as error:
        return None, f"{name} cannot be read: {error.strerror}"
    return None, f"{name} is missing"
