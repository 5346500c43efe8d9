"""Fashion-MNIST: read from a directory, or fetched once from its official address and cached.

Every file is checked against the published MD5 sum and a SHA-256 before it is used, whether it was
just fetched, cached earlier, or put there by the user.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from model_build.architecture import CLASS_NAMES, IMAGE_SIZE
from model_build.files import atomic_writer, cache_directory
from model_build.progress import progress_bar
from pytest_servebench.errors import ModelError

OFFICIAL_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
"""Where the authors publish the four files."""

DIRECTORY_VARIABLE = "FASHION_MNIST_DIR"
"""Environment variable naming a directory which holds the four files."""

SplitName = Literal["train", "t10k"]


class DatasetError(ModelError):
    """Fashion-MNIST is missing, damaged, or could not be fetched; the message says what to do."""


@dataclass(frozen=True)
class PublishedFile:
    """One of the data set's files, as its authors publish it.

    Attributes:
        md5: the sum published with the data set.
        sha256: computed from the file with that MD5 sum, since MD5 can be forged.
        size: in bytes.
    """

    md5: str
    sha256: str
    size: int


FILES = {
    "train-images-idx3-ubyte.gz": PublishedFile(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        26_421_880,
    ),
    "train-labels-idx1-ubyte.gz": PublishedFile(
        "25c81989df183df01b3e8a0aad5dffbe",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        29_515,
    ),
    "t10k-images-idx3-ubyte.gz": PublishedFile(
        "bef4ecab320f06d8554ea6380940ec79",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        4_422_102,
    ),
    "t10k-labels-idx1-ubyte.gz": PublishedFile(
        "bb300cfdad3c16e7a12a480ee83cd310",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        5_148,
    ),
}
"""The published files by name."""


@dataclass(frozen=True)
class Split:
    """The training or the test half of the data set.

    Attributes:
        images: uint8 of shape ``(n, 28, 28)``.
        labels: uint8 of shape ``(n,)``, 0 to 9.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def chosen_directory(data_dir: Path | None = None) -> Path | None:
    """Return the directory which the user named, if any: ``data_dir``, else the environment's."""
    if data_dir is not None:
        return data_dir
    named = os.environ.get(DIRECTORY_VARIABLE)
    return Path(named).expanduser() if named else None


def cached_directory() -> Path:
    """Return where fetched files are kept."""
    return cache_directory() / "fashion-mnist"


def load(split: SplitName, data_dir: Path | None = None, url: str = OFFICIAL_URL) -> Split:
    """Read one half of the data set, fetching it first if no directory is named.

    Raises:
        DatasetError: a file is missing in the named directory, is not the published one, or cannot
            be fetched.
    """
    directory = chosen_directory(data_dir)
    if directory is None:
        directory = fetch(split, url)
    return Split(_read_images(directory, split), _read_labels(directory, split))


def load_test_images_if_present() -> npt.NDArray[np.uint8] | None:
    """Read the 10,000 test images if they are on this machine; never touch the network.

    Returns:
        uint8 of shape ``(10000, 28, 28)``, or None where no directory is named and none is cached.

    Raises:
        DatasetError: the directory which the user named lacks the file, or a file is damaged.
    """
    named = chosen_directory()
    if named is None and not (cached_directory() / "t10k-images-idx3-ubyte.gz").exists():
        return None
    return _read_images(named or cached_directory(), "t10k")


def fetch(split: SplitName, url: str = OFFICIAL_URL, timeout: float = 30.0) -> Path:
    """Make sure that the files of ``split`` are cached, and return their directory.

    Args:
        split: which half.
        url: address of the directory that holds the files.
        timeout: seconds without data after which a connection is given up.

    Raises:
        DatasetError: no network, or the download is not the published file; nothing is cached
            then.
    """
    directory = cached_directory()
    for name in (f"{split}-images-idx3-ubyte.gz", f"{split}-labels-idx1-ubyte.gz"):
        if not (directory / name).exists():
            _download(url.rstrip("/") + "/" + name, directory / name, timeout)
    return directory


def _download(url: str, path: Path, timeout: float) -> None:
    import requests  # noqa: PLC0415 - takes a tenth of a second, and is seldom needed

    size = FILES[path.name].size
    try:
        with (
            requests.get(url, stream=True, timeout=timeout) as response,
            atomic_writer(path) as file,
            progress_bar(total=size, unit="B", unit_scale=True, desc=path.name) as progress,
        ):
            response.raise_for_status()
            content = bytearray()
            for chunk in response.iter_content(1 << 16):
                content += chunk
                progress.update(len(chunk))
                if len(content) > size:
                    break  # not the published file, however long it is
            _verify(path.name, bytes(content), url)
            file.write(content)
    except (requests.RequestException, OSError) as error:
        raise DatasetError(
            f"could not fetch {url}: {error}. Check the network (HTTP_PROXY is honoured), or put "
            f"the four files of Fashion-MNIST into a directory and name it with --data-dir or "
            f"{DIRECTORY_VARIABLE}."
        ) from error


def _verify(name: str, content: bytes, where: str) -> None:
    published = FILES[name]
    if len(content) != published.size:
        kind = "truncated" if len(content) < published.size else "too long"
        problem = f"is {kind}: {len(content)} bytes instead of {published.size}"
    elif (md5 := hashlib.md5(content, usedforsecurity=False).hexdigest()) != published.md5:
        problem = f"has MD5 {md5} instead of the published {published.md5}"
    elif (sha256 := hashlib.sha256(content).hexdigest()) != published.sha256:
        problem = f"has SHA-256 {sha256} instead of {published.sha256}"
    else:
        return
    raise DatasetError(
        f"{where} {problem}. If it is a local file, delete it and fetch it again from "
        f"{OFFICIAL_URL}."
    )


def _read(directory: Path, name: str) -> bytes:
    path = directory / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"cannot read {path}: {error.strerror}. A directory named with --data-dir or "
            f"{DIRECTORY_VARIABLE} must hold {', '.join(FILES)}; without one, they are fetched "
            f"from {OFFICIAL_URL} for training."
        ) from error
    _verify(name, content, str(path))
    return gzip.decompress(content)


def _read_images(directory: Path, split: SplitName) -> npt.NDArray[np.uint8]:
    content = _read(directory, f"{split}-images-idx3-ubyte.gz")
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def _read_labels(directory: Path, split: SplitName) -> npt.NDArray[np.uint8]:
    labels = np.frombuffer(_read(directory, f"{split}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    if labels.max() >= len(CLASS_NAMES):
        raise DatasetError(f"{directory}: a label of {split} is not one of the ten classes")
    return labels
