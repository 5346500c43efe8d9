"""Write the lowest versions that pyproject.toml allows to a file, as constraints for pip."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
needed = [*project["project"]["dependencies"], *project["dependency-groups"]["unit"]]
lines = [requirement.replace(">=", "==") for requirement in needed]
Path(sys.argv[1]).write_text("\n".join(lines) + "\n")
