"""``python -m pytest_servebench.servers.savedmodel_server``: see ``--help``."""

import logging
import signal
import sys

from pytest_servebench.servers.savedmodel_server import SERVER_NAME, SERVER_VERSION
from pytest_servebench.servers.savedmodel_server.flags import USAGE, FlagError, HelpWanted, parse
from pytest_servebench.servers.savedmodel_server.model import ModelLoadError, tensorflow_version
from pytest_servebench.servers.savedmodel_server.repository import RepositoryError
from pytest_servebench.servers.savedmodel_server.server import ListenError, serve

_USAGE_ERROR = 2
_START_ERROR = 255  # as the real server's


def main(arguments: list[str]) -> int:
    """Run the program; return its exit status."""
    # Until it serves, signals end it at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        flags = parse(arguments)
        logging.info("%s", version_line())
        serve(flags)
    except HelpWanted as wanted:
        try:
            print(version_line() if wanted.args == ("version",) else USAGE)
        except ModelLoadError as error:
            print(f"{SERVER_NAME}: {error}", file=sys.stderr)
            return _START_ERROR
        return 0
    except FlagError as error:
        print(f"{SERVER_NAME}: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except (RepositoryError, ModelLoadError, ListenError) as error:
        print(f"{SERVER_NAME}: {error}", file=sys.stderr)
        return _START_ERROR
    return 0


def version_line() -> str:
    """Return name and version of this server and of the TensorFlow it runs."""
    return f"{SERVER_NAME} {SERVER_VERSION} (TensorFlow {tensorflow_version()})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
