"""A container image without a registry: this machine's own Python, mounted into an empty root."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PODMAN = shutil.which("podman")
PYTHON = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")


def _mounted() -> list[Path]:
    """Return the directories that Python needs."""
    system = [path for name in ("usr", "lib", "lib64") if (path := Path("/", name)).is_dir()]
    own = Path(sys.base_prefix)
    return [
        *(path for path in system if not path.is_symlink()),
        *([own] if not own.is_relative_to("/usr") else []),
    ]


RUN_ARGS = (
    # The defaults are more than some virtual machines allow.
    "--ulimit=nofile=10000:20000",
    "--ulimit=nproc=1000:1000",
    *(f"--volume={path}:{path}:ro" for path in _mounted()),
)


@contextmanager
def built_image(name: str, programs: Mapping[str, str], *changes: str) -> Iterator[str]:
    """Give an image with programs on its PATH; each is Python code."""
    root = io.BytesIO()
    with tarfile.open(fileobj=root, mode="w") as archive:
        for folder in ("tmp", "etc", "proc", "sys", "dev", "srv"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
        for link in ("lib", "lib64"):
            if (path := Path("/", link)).is_symlink():
                entry = tarfile.TarInfo(link)
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(entry)
        for program, source in programs.items():
            code = f"#!{PYTHON}\n{source}".encode()
            entry = tarfile.TarInfo(f"srv/{program}")
            entry.size, entry.mode = len(code), 0o755
            archive.addfile(entry, io.BytesIO(code))
    made = [f"ENV PATH=/srv:{Path(PYTHON).parent}:/usr/bin", *changes]
    subprocess.run(
        [str(PODMAN), "import", "--quiet", *(f"--change={one}" for one in made), "-", name],
        input=root.getvalue(), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    try:
        yield name
    finally:
        subprocess.run([str(PODMAN), "rmi", "--force", name], stdout=subprocess.PIPE, check=False)
