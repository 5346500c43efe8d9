"""TorchServe's model archives."""

import json
import zipfile
from pathlib import Path
from typing import Final

from pytest_servebench.errors import ServerStartError

_MANIFEST: Final = "MAR-INF/MANIFEST.json"


def check_archive(path: Path) -> Path:
    """Return ``path`` if it is a model archive.

    Raises:
        ServerStartError: it is not; says what is wrong, and what to do.
    """
    remedy = "make one with torch-model-archiver"
    if not path.is_file():
        raise ServerStartError(f"There is no model archive (.mar file) at {path}: {remedy}.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ServerStartError(f"{path} is not a model archive: {error}; {remedy}.") from None
    if _MANIFEST not in names:
        raise ServerStartError(f"{path} is not a model archive: it has no {_MANIFEST}; {remedy}.")
    return path


def version_of(archive: Path) -> str:
    """Return the model's version, as TorchServe reads it; a broken manifest is for its log."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return str(json.loads(opened.read(_MANIFEST))["model"]["modelVersion"])
    except (ValueError, KeyError, TypeError):
        return "1.0"
