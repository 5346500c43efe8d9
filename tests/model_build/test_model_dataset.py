import gzip
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_build import dataset
from model_build.dataset import DatasetError, PublishedFile

IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVEBENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv(dataset.DIRECTORY_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a data set of three images, and its sums in place of the real ones."""
    pixels = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).tobytes()
    contents = {
        IMAGES: gzip.compress(bytes(16) + pixels),
        LABELS: gzip.compress(bytes(8) + bytes([1, 9, 0])),
    }
    directory = tmp_path / "published"
    directory.mkdir()
    for name, content in contents.items():
        (directory / name).write_bytes(content)
        known = PublishedFile(
            hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest(), len(content)
        )
        monkeypatch.setitem(dataset.FILES, name, known)
    return directory


@pytest.fixture
def url(published: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(published))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def cached_files() -> list[str]:
    directory = dataset.cached_directory()
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def test_a_named_directory_is_read(published: Path) -> None:
    split = dataset.load("t10k", published)
    assert split.images.shape == (3, 28, 28)
    assert split.images[0, 0, 5] == 5
    assert split.labels.tolist() == [1, 9, 0]
    assert cached_files() == []


def test_the_environment_names_a_directory(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dataset.load_test_images_if_present() is None
    monkeypatch.setenv(dataset.DIRECTORY_VARIABLE, str(published))
    images = dataset.load_test_images_if_present()
    assert images is not None
    assert images.shape == (3, 28, 28)


def test_a_missing_directory_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--data-dir or FASHION_MNIST_DIR"):
        dataset.load("t10k", tmp_path / "absent")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "truncated: .* bytes instead of"),
        (lambda content: content + b"\0", "too long"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "MD5 .* instead of"),
        (lambda content: b"", "truncated: 0 bytes"),
    ],
)
def test_a_damaged_file_is_refused(published: Path, damage: object, message: str) -> None:
    path = published / IMAGES
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DatasetError, match=message) as caught:
        dataset.load("t10k", published)
    assert str(path) in str(caught.value)
    assert dataset.OFFICIAL_URL in str(caught.value)


def test_a_forged_md5_is_found_by_sha256(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dataset.FILES[IMAGES]
    monkeypatch.setitem(dataset.FILES, IMAGES, PublishedFile(known.md5, "0" * 64, known.size))
    with pytest.raises(DatasetError, match="SHA-256"):
        dataset.load("t10k", published)


def test_fetched_once_then_read_from_the_cache(url: str, published: Path) -> None:
    first = dataset.load("t10k", url=url)
    assert cached_files() == [IMAGES, LABELS]
    again = dataset.load("t10k", url="http://127.0.0.1:9/")
    np.testing.assert_array_equal(first.images, again.images)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "truncated"),
        (lambda content: content[:10], "truncated"),
        (lambda content: content[:-1], "truncated"),
        (lambda content: content + bytes(1_000_000), "too long"),
        (None, "404"),
    ],
)
def test_a_damaged_download_leaves_no_cache(
    url: str, published: Path, damage: Any, message: str
) -> None:
    path = published / IMAGES
    content = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(content))
    with pytest.raises(DatasetError, match=message):
        dataset.load("t10k", url=url)
    assert cached_files() == []


def test_without_network_the_message_says_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(DatasetError, match=r"could not fetch .*FASHION_MNIST_DIR"):
            dataset.load("t10k", url=url)
    assert cached_files() == []
