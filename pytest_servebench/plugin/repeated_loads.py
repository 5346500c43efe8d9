"""Cases of one test that sent the same loads, because the test overrides their parameters."""

from collections import defaultdict
from typing import Final

from pytest_servebench.plugin.parameters import PARAMETERS
from pytest_servebench.text.safe import clean, joined

_MARKER: Final = "@pytest.mark.servebench"


class SentValues:
    """Rates, buffer sizes and rows of the loads of each test function, by those of its cases."""

    def __init__(self) -> None:
        """Begin without loads."""
        self._sent: dict[tuple[str, str], dict[float, set[float]]] = defaultdict(
            lambda: defaultdict(set)
        )

    def add(self, function: str, cell: object, spec: object) -> None:
        """Remember a load that a case of a test function sent.

        Args:
            function: the test's.
            cell: has the case's rate, buffer size and rows.
            spec: has the load's.
        """
        for name in PARAMETERS:
            self._sent[function, name][getattr(cell, name)].add(getattr(spec, name))

    def repeated(self) -> list[str]:
        """Return for each function and parameter that its cases sent the same, in a sentence."""
        return [
            f"{clean(function)}: its cases of {len(sent)} {PARAMETERS[name].words} "
            f"({joined(f'{one:g}' for one in sorted(sent))}) sent the same loads, as "
            f"poisson_load({name}=…) overrides them: {_MARKER}({PARAMETERS[name].several}="
            f"[{min(map(min, sent.values())):g}]) makes one case"
            for (function, name), sent in self._sent.items()
            if len(sent) > 1 and len(set(map(frozenset, sent.values()))) == 1
        ]
