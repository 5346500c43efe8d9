"""Wait until a process serves its model, or until waiting is pointless."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.errors import ServerStartError
from pytest_servebench.load.target import Target
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.servers import ports, probe
from pytest_servebench.servers.first_prediction import (
    LOADING,
    FirstPrediction,
    RefusedError,
    own_requests,
)
from pytest_servebench.servers.logs import FatalLine, LogWatch, first_fatal
from pytest_servebench.servers.no_answer import NoAnswerError
from pytest_servebench.servers.ports import LOOPBACK
from pytest_servebench.servers.process import ServerProcess
from pytest_servebench.text.safe import joined, sentence

_PAUSE = 0.05  # seconds between two checks
_SETTLE = 3.0  # most seconds for a log to complete its message
_QUIET = 1.0  # seconds without a new line after which it is complete
_LONGEST_ANSWER = 10.0  # seconds for one check of its state
_NOTHING = "nothing"


class PortClashError(ServerStartError):
    """Another program took a port before the server could."""


@dataclass(frozen=True)
class Place:
    """The ports and directories of one start; another attempt has other ports.

    Attributes:
        ports: free on 127.0.0.1, as many as the program needs; predictions go to the first.
        scratch: the server's working directory; private, with a path that is short enough for
            Unix sockets, and removed when the server has ended.
        run_dir: for configuration and logs, which are kept with the results.
        host: the address to listen on.
    """

    ports: tuple[int, ...]
    scratch: Path
    run_dir: Path
    host: str = LOOPBACK

    @property
    def port(self) -> int:
        """Return the port for predictions."""
        return self.ports[0]


class Readiness:
    """Waits until a process serves its model.

    Args:
        title: the server's name, for errors.
        process: what was started; the caller stops it after an error.
        place: where it was started.
        timeout: seconds from now until the server must be ready.
        fatal: log lines after which waiting is pointless.
    """

    def __init__(
        self,
        title: str,
        process: ServerProcess,
        place: Place,
        timeout: float,
        fatal: Sequence[FatalLine] = (),
    ) -> None:
        self.place = place
        self._title = title
        self._process = process
        self._timeout = timeout
        self._start = time.monotonic()
        self._fatal = fatal
        self._watch = LogWatch(process.log_files)

    def wait_for(self, what: str, attempt: Callable[[float], tuple[bool, str]]) -> None:
        """Call ``attempt`` until it succeeds.

        Args:
            what: what to wait for, as a phrase after "waiting for".
            attempt: called with the seconds left; returns whether it succeeded, and what it saw,
                for the error.

        Raises:
            ServerStartError: the process exited, the log has a fatal line, another program took a
                port, or time is up.
        """
        seen = _NOTHING
        while True:
            # In this order: the log explains an exit better than the exit status.
            ending = self._process.ending()
            self._look_at_log()
            if ending is not None:
                raise self.failure(f"it ended ({ending}) while waiting for {what}")
            left = self._left()
            if left <= 0:
                raise self.failure(
                    f"gave up after {self._timeout:g} s of waiting for {what}; last seen: {seen}"
                    f"{self._elsewhere()}"
                )
            done, now = attempt(left)
            if done:
                return
            # The deadline may have cut this attempt short: it does not replace a real answer.
            cut = seen != _NOTHING and self._left() <= 0
            seen = f"{seen}; then: {now}" if cut and now != seen else now
            time.sleep(_PAUSE)

    def _elsewhere(self) -> str:
        """Say where the process listens, if not where it should."""
        places = self._process.places()
        if any(ports.is_reached(each, self.place.port) for each in places):
            return ""
        others = [ports.shown(each) for each in places if each[1] not in self.place.ports[1:]]
        if not others:
            return ""
        return f"; it listens on {joined(others)}, not on {LOOPBACK}:{self.place.port}"

    def _left(self) -> float:
        """Return the seconds left."""
        return self._timeout - (time.monotonic() - self._start)

    def wait_for_answer(
        self,
        what: str,
        request: HttpRequest,
        judge: Callable[[HttpAnswer], bool],
        *,
        port: int | None = None,
    ) -> None:
        """Send a request repeatedly until its answer says that the server is ready.

        Args:
            what: what to wait for, as a phrase after "waiting for".
            request: asks the server for its state.
            judge: returns whether an answer says that the server is ready.
            port: by default, the port for predictions.

        Raises:
            ServerStartError: as :meth:`wait_for`; or another program answers.
        """
        port = self.place.port if port is None else port

        def attempt(left: float) -> tuple[bool, str]:
            if not self.listens(port):
                return False, f"nothing listens on port {port}"
            try:
                answer = probe.ask(url(port), request, min(left, _LONGEST_ANSWER))
            except NoAnswerError as error:
                return False, f"{request.asked}: {error}"
            return judge(answer), f"{request.asked}: {answer.described}"

        self.wait_for(what, attempt)

    def wait_for_path(self, path: str, port: int | None = None) -> None:
        """Poll a path over HTTP until the answer is 2xx, while the server is loading.

        Args:
            path: to ask for.
            port: by default, the port for predictions.

        Raises:
            ServerStartError: as :meth:`wait_for_answer`; or the answer is final, such as 404.
        """

        def judge(answer: HttpAnswer) -> bool:
            if 200 <= answer.status < 300:
                return True
            if answer.status in LOADING:
                return False
            raise self.failure(
                f"it answers GET {path} with {answer.described}; check its readiness "
                "path, the key ready"
            )

        self.wait_for_answer(f"GET {path} to succeed", HttpRequest("GET", path), judge, port=port)

    def wait_for_prediction(self, first: FirstPrediction) -> str:
        """Wait until the server predicts, or says that it serves.

        Returns:
            what is wrong with its prediction, as an error; empty if it is right.

        Raises:
            ServerStartError: the server does not answer in time, or refuses permanently; or
                another program answers.
        """
        port = self.place.port

        def attempt(left: float) -> tuple[bool, str]:
            if not self.listens(port):
                return False, f"nothing listens on port {port}"
            try:
                return first.attempt(left)
            except RefusedError as error:
                raise self.failure(f"it {error}") from None

        self.wait_for(f"a prediction from {url(port, first.scheme)}{first.path}", attempt)
        if not first.problem:
            return ""
        self._rest_of_log()  # a handler's traceback is logged after its answer
        problem = sentence(first.problem)
        return f"{self._title} {problem}\n{own_requests(first.scheme)}\n{self._process.log_tail()}"

    def listens(self, port: int) -> bool:
        """Return whether the process listens on ``port`` yet.

        Raises:
            ServerStartError: another program does: its answers would be taken for the server's,
                and it would receive the server's keys.
        """
        # In this order: what accepts connections already listens when it is looked for.
        if not ports.accepts(Target(LOOPBACK, port), 1.0):
            return False
        if (its_own := self._process.listens(port)) is not False:
            return its_own is True
        raise PortClashError(self._message(f"another program listens on its port {port}"))

    def failure(self, reason: str) -> ServerStartError:
        """Return the error to raise: the reason, the command, and the tail of the log."""
        return ServerStartError(self._message(reason))

    def _message(self, reason: str) -> str:
        waited = time.monotonic() - self._start
        return (
            f"{self._title} did not become ready: {sentence(reason)}\n"
            f"Waited {waited:.1f} s (--servebench-start-timeout={self._timeout:g}). "
            f"Command: {' '.join(self._process.command)}\n{self._process.log_tail()}"
        )

    def _rest_of_log(self) -> list[str]:
        """Return new lines until there are none for a moment.

        The end of a traceback may have the cause of the first line: lines of a worker and of its
        server are logged in no fixed order.
        """
        lines: list[str] = []
        quiet_since = start = time.monotonic()
        while (now := time.monotonic()) - start < _SETTLE and now - quiet_since < _QUIET:
            time.sleep(_PAUSE)
            if more := list(self._watch.new_lines()):
                lines += more
                quiet_since = now
        return lines

    def _look_at_log(self) -> None:
        lines = list(self._watch.new_lines())
        if (hit := first_fatal(lines, self._fatal)) is None:
            return
        lines += self._rest_of_log()
        fatal, line = first_fatal(lines, self._fatal[: self._fatal.index(hit[0])]) or hit
        message = self._message(f"{fatal.meaning} (its log: {line!r})")
        raise (PortClashError if fatal.port_clash else ServerStartError)(message)


def url(port: int, scheme: str = "http") -> str:
    """Return the address of a server that was started here."""
    return f"{scheme}://{LOOPBACK}:{port}"
