"""Figures of each class of requests.

A class has fewer requests than the case, and those in between are left out: a correlation that is
clear in the whole case is weaker among them, and blocks chosen from it alone would be too short.
Blocks of a class are therefore at least as long as those of the whole case.
"""

from pytest_servebench.load.records import Records
from pytest_servebench.stats.estimates import ClassFigures
from pytest_servebench.stats.summary import alike_for, summary_of


def class_figures(
    records: Records, offered_rate: float, max_lag: float
) -> tuple[ClassFigures, ...]:
    """Return the figures of each class, with intervals; nothing if requests have none.

    Args:
        records: of all arrivals.
        offered_rate: of all of them, 1/s.
        max_lag: lateness of the generator, seconds, beyond which an arrival is late.
    """
    if records.classes is None:
        return ()
    # A request of one class may have waited behind a late one of another.
    punctual, alike = records.without_lag(max_lag), alike_for(records)
    found = []
    for name in records.classes.names:
        own, at_best = (one.of_class(name, alike) for one in (records, punctual))
        offered = offered_rate * len(own) / max(1, len(records))
        found.append(ClassFigures(name, summary_of(own, at_best, offered)))
    return tuple(found)


def of_class(records: Records, name: str) -> Records:
    """Return the records of one class."""
    return records.of_class(name, alike_for(records))
