"""Read columns from an untrusted NumPy archive.

Its directory and headers are checked first: an archive of a few kilobytes can hold columns of many
gigabytes.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import psutil

_SHARE: Final = 0.5  # of the machine's memory that columns may take


def read_columns(
    path: Path, types: Mapping[str, tuple[npt.DTypeLike, int]], rows: int | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of an archive (``.npz``).

    Args:
        path: the archive.
        types: for each column its type and its number of dimensions, 0 or 1.
        rows: length of the columns, if known.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such an archive, its columns have other types or different lengths, or
            there is not enough memory for them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            lengths = {}
            for name, (kind, dimensions) in types.items():
                shape = _shape(archive, name, np.dtype(kind), dimensions)
                lengths[name] = shape[0] if shape else None
            _check_lengths({one for one in lengths.values() if one is not None}, rows)
            return {name: _array(archive, name) for name in types}
    except OSError:
        raise
    except Exception as error:  # zipfile and NumPy raise anything on a broken archive
        raise ValueError(f"{path}: not a records file: {error}") from error


@dataclass(frozen=True)
class Part:
    """Columns of a records file that only some loads have, with a common prefix."""

    path: Path
    prefix: str

    def columns(
        self, types: Mapping[str, tuple[npt.DTypeLike, int]], rows: int | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return columns by their names without the prefix; as :func:`read_columns`."""
        read = read_columns(
            self.path, {self.prefix + name: one for name, one in types.items()}, rows
        )
        return {name.removeprefix(self.prefix): one for name, one in read.items()}

    def column(
        self, name: str, kind: npt.DTypeLike, rows: int | None = None, dimensions: int = 1
    ) -> npt.NDArray[Any]:
        """Return one column."""
        return self.columns({name: (kind, dimensions)}, rows)[name]

    def refuse(self, problem: str) -> NoReturn:
        """Raise :class:`ValueError`: no load wrote these columns."""
        raise ValueError(f"{self.path}: not a records file: {self.prefix}{problem}")


def part_of(path: Path, prefix: str, sign: str) -> Part | None:
    """Return the part of an archive with a prefix; ``None`` if it has no column ``sign`` in it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such an archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            there = f"{prefix}{sign}.npy" in archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a records file: {error}") from error
    return Part(path, prefix) if there else None


def _check_lengths(lengths: set[int], rows: int | None) -> None:
    if len(lengths) > 1:
        raise ValueError("its columns differ in length")
    if rows is not None and lengths != {rows}:
        raise ValueError(f"it has {lengths.pop()} records of {rows} arrivals")


def _shape(
    archive: zipfile.ZipFile, name: str, kind: np.dtype[Any], dimensions: int
) -> tuple[int, ...]:
    """Return a column's shape after checking its header."""
    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as file:
        shape, dtype = _header(file)
        size = file.tell() + dtype.itemsize * int(np.prod(shape, dtype=object))
    if dtype != kind or len(shape) != dimensions:
        raise ValueError(f"{name} is {dtype} of shape {shape}")
    if size != entry.file_size:
        raise ValueError(f"{name} has {entry.file_size} bytes instead of {size}")
    if size > _SHARE * psutil.virtual_memory().total:
        raise ValueError(f"{name} would take {size} bytes of memory")
    return shape


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else (
        np.lib.format.read_array_header_2_0
    )  # fmt: skip
    shape, _, dtype = read(file)
    return shape, dtype


def _array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        found: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return found
