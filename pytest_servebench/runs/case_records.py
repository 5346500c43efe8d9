"""Records of a case's requests; reports and comparisons work without unreadable ones."""

from pathlib import Path

from pytest_servebench.load.records import Records
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.classes import of_class
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
            return _read(case, path), ""
    except ValueError:
        return None, f"{name} cannot be read: it is damaged"
    except OSError as error:
        return None, f"{name} cannot be read: {error.strerror}"
    return None, f"{name} is missing"


def _read(case: CaseResult, path: Path) -> Records:
    name, arrivals = case.request_class, case.summary.arrivals
    if not name:
        return Records.load(path, arrivals)
    found = Records.load(path)
    if found.classes is None or name not in found.classes.names:
        raise ValueError(f"{path}: not a records file: no request is of class {name}")
    if len(found.classes.members(name)) != arrivals:
        raise ValueError(f"{path}: not a records file: others than {arrivals} are of class {name}")
    return of_class(found, name)
