"""Find the version to serve."""

from pathlib import Path

_WANTED = "A model is a directory with numbered versions: PATH/1/saved_model.pb"


class RepositoryError(Exception):
    """There is nothing to serve; the message names the path and the remedy."""


def newest_version(base_path: Path) -> tuple[int, Path]:
    """Return the highest numbered version under ``base_path`` and its directory.

    Raises:
        RepositoryError: there is none. (The real server waits for one forever.)
    """
    if not base_path.exists():
        raise RepositoryError(f"There is no model at {base_path}. {_WANTED}.")
    if not base_path.is_dir():
        raise RepositoryError(f"{base_path} is not a directory. {_WANTED}.")
    if _is_saved_model(base_path):
        path = base_path.absolute()
        remedy = (
            f"give its parent, {path.parent}"
            if path.name.isdecimal()
            else "move it into a sub-directory called 1"
        )
        raise RepositoryError(f"{base_path} is itself one version of a model: {remedy}. {_WANTED}.")
    try:
        entries = sorted(base_path.iterdir())
    except OSError as error:
        raise RepositoryError(f"{base_path} cannot be read: {error.strerror}.") from error
    versions = [(int(p.name), p) for p in entries if p.name.isdecimal() and p.is_dir()]
    if not versions:
        found = ", ".join(p.name for p in entries[:10]) or "nothing"
        raise RepositoryError(f"{base_path} has no numbered version (found: {found}). {_WANTED}.")
    version, path = max(versions)
    if not _is_saved_model(path):
        raise RepositoryError(
            f"{path}, the newest version in {base_path}, has no saved_model.pb. "
            f"Export the model again, or remove that directory. {_WANTED}."
        )
    return version, path


def _is_saved_model(path: Path) -> bool:
    return any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt"))
