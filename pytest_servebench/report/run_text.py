"""The run as JSON, as it stands in ``run.json``."""

from pytest_servebench.report.outputs import Material
from pytest_servebench.text.json_text import to_json


def write(made: Material) -> str:
    """Return the run as JSON."""
    return to_json(made.run.to_dict()) + "\n"
