"""State of one pytest session: settings, model, running servers, results and their directory."""

from __future__ import annotations

import dataclasses
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.analysis.capacities import CapacityCase
from pytest_servebench.errors import ModelError, OptionError, ServerStartError, described
from pytest_servebench.measure.footprint import Footprint, footprint
from pytest_servebench.model import ServedModel
from pytest_servebench.plugin.baseline import Baseline
from pytest_servebench.plugin.known_servers import KnownServers
from pytest_servebench.plugin.model_loading import load_model
from pytest_servebench.plugin.option_reading import read_settings
from pytest_servebench.plugin.orderly_end import OrderlyEnd
from pytest_servebench.plugin.own_warnings import tell
from pytest_servebench.plugin.recorded import RecordedCases
from pytest_servebench.plugin.repeated_loads import SentValues
from pytest_servebench.plugin.settings import InconclusivePolicy, Settings
from pytest_servebench.runs.decoding import decode
from pytest_servebench.runs.machine import installed_versions, machine_facts
from pytest_servebench.runs.results import CaseResult, LogPart, Run, ServerDeath, ServerInfo
from pytest_servebench.runs.run_file import GrowingRunFile
from pytest_servebench.servers.base import RunningServer, own_model
from pytest_servebench.servers.kind_options import set_options
from pytest_servebench.servers.logs import LineCounts
from pytest_servebench.servers.shared import ExposedServerWarning, SharedServers
from pytest_servebench.system.files import file_name
from pytest_servebench.text.closest import meant
from pytest_servebench.text.json_text import plain
from pytest_servebench.text.safe import clean, joined

# What a user's hook may raise: pytest's own outcomes do not derive from Exception.
_FAILURES = (Exception, SystemExit, pytest.fail.Exception, pytest.skip.Exception)


class ServebenchSession:
    """Lives in ``config.stash``; everything in it is created on first use."""

    def __init__(self, config: pytest.Config) -> None:
        """Belong to a pytest session."""
        self.config = config
        # Interleaved servers are used again.
        self.servers = SharedServers(self._start, keep=lambda: self.settings.interleave)
        self.recorded = RecordedCases(self.directory)
        self.results = self.recorded.results
        self.sent = SentValues()
        self.at_rest: dict[str, Footprint | None] = {}  # by kind, of the server that started last
        self.deaths: list[ServerDeath] = []
        self.troubles: list[str] = []  # what could not be saved, one line each
        self.finished = False  # whether the session ended normally
        self.orderly_end = OrderlyEnd()
        self.run_file = GrowingRunFile()
        self.log_lines = LineCounts()
        self.needed_kinds: frozenset[str] = frozenset()
        self.cases = 0  # how many load tests this session has
        self.baseline: Baseline | None = None
        self.not_told: list[str] = []  # usage errors in a session that runs no test
        self.wrong_markers: dict[str, str] = {}  # errors in markers, by their test's node id
        self.deselected: list[pytest.Item] = []  # cases deselected by -k, -m or --deselect
        self.lines: dict[str, int] = {}  # node id to line of the test, in test order
        self.files: dict[str, Path] = {}  # node id to file of the test
        self.started = datetime.now().astimezone()
        self._model: ServedModel | None = None
        self._model_error: Exception | None = None
        self._directory: Path | None = None
        self._report: dict[str, Any] | None = None

    # -- what the user wants ------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The options, parsed on first use: a session without load tests does not check them.

        Raises:
            OptionError: a value is invalid.
        """
        if isinstance(self._options, OptionError):
            raise self._options
        return self._options

    @property
    def wrong_options(self) -> list[str]:
        """Errors in the options; empty if they are valid."""
        return [str(self._options)] if isinstance(self._options, OptionError) else []

    @cached_property
    def _options(self) -> Settings | OptionError:
        try:
            return read_settings(self.config)
        except OptionError as error:
            return error

    @cached_property
    def known(self) -> KnownServers:
        """The servers that could run; see :class:`KnownServers`."""
        return KnownServers(self.config, self.settings)

    def wrong_kinds(self) -> list[str]:
        """Return errors in the options of kinds, and the kinds that are wanted but undefined.

        A kind named in the config file may be defined by a ``conftest.py`` beside other tests.
        """
        asked_for = self.config.getoption("--servebench-servers") is not None
        try:
            known = self.known
            for name in self.settings.servers:
                if name not in known and (asked_for or name in self.needed_kinds):
                    known[name]
        except OptionError as error:
            return [str(error)]
        return []

    # -- the model ----------------------------------------------------------------------------

    def model(self) -> ServedModel:
        """Return the model to serve, packaged for the kinds that this session starts.

        Raises:
            ServebenchError: see :func:`~pytest_servebench.plugin.model_loading.load_model`.
        """
        if self._model_error is not None:
            raise self._model_error
        if self._model is None:
            needed = [name for name in self.needed_kinds if name in self.known]
            wanted = {key for name in needed for key in self.known.artifacts(name)}
            try:
                self._model = load_model(self.settings.model, wanted)
            except (ModelError, OptionError) as error:
                self._model_error = error  # rebuilding it for each case would fail again
                raise
        return self._model

    def need(self, kind: str) -> None:
        """Have the model packaged for a kind that a test requests only while it runs."""
        if kind not in self.needed_kinds:
            self.needed_kinds |= {kind}
            known = kind in self.known
            if known and self._model is not None and not self.known.packaged(kind, self._model):
                self._model = None  # to be packaged for one more kind; built artifacts are kept

    # -- servers ------------------------------------------------------------------------------

    def _start(self, name: str) -> RunningServer:
        setup = self.known[name]
        model = own_model(setup.kind) or self.model()
        if not self.known.packaged(name, model):
            keys = self.known.artifacts(name)
            if setup.chose_artifact:  # skipped, a typo would pass
                raise OptionError(
                    f"{name}.artifact: the model {model.name!r} has no artifact {keys[0]!r}"
                    f"{meant(keys[0], model.artifacts)} "
                    f"It has {', '.join(sorted(model.artifacts)) or 'none'}."
                )
            needs = "" if name in keys else f" (artifact {keys[0]!r})"
            pytest.skip(
                f"the model {model.name!r} is not packaged for {name}{needs}, only for "
                f"{', '.join(sorted(model.artifacts)) or 'no server'}"
            )
        # Restarts get a subdirectory, not a suffix: another kind may be called toy-2.
        directory = first = self.directory() / "servers" / file_name(name)
        attempt = 1
        while directory.exists():
            attempt += 1
            directory = first / str(attempt)
        try:
            directory.mkdir(parents=True)
        except OSError as error:
            raise ServerStartError(
                f"{name} was not started: cannot write its logs to {directory}: "
                f"{error.strerror}. Free some space or make the directory writable, or give "
                "another one by --servebench-results."
            ) from error
        server = setup.kind.start(setup.model(model), self.known.settings(name), directory)
        if server.kind != name:
            server.stop()
            raise ServerStartError(
                f"{name}: {type(setup.kind).__qualname__} started a server of the kind "
                f"{server.kind!r}: it must take the kind's own name, self.name."
            )
        self.at_rest[name] = footprint(server.pids())
        if exposed := getattr(server, "exposed", ()):
            text = f"{name} listens on {joined(exposed)}, where other machines may reach it; "
            tell(warnings.warn, ExposedServerWarning(f"{text}have it listen on 127.0.0.1 only."))
        return server

    def describe(self, server: RunningServer) -> ServerInfo:
        """Return what reports show of ``server``."""
        name = server.kind
        known = name in self.known  # not if a test gave a URL
        settings = self.known.settings(name) if known and not self.known.attached(name) else None
        rest = self.at_rest.get(name)
        return ServerInfo(
            kind=name,
            title=self.known[name].kind.title if known else server.implementation,
            implementation=server.implementation,
            base_url=server.base_url,
            protocol=server.protocol.name,
            threads=settings.threads if settings else None,
            workers=settings.workers if settings else None,
            cpus=settings.cpus if settings else (),
            start_seconds=getattr(server, "start_seconds", None),
            rest_memory=rest.size if rest else None,
            rest_measure=rest.measure if rest else None,
            options=set_options(self.known[name].kind) if settings else {},
        )

    def note_deaths(self, test: str) -> None:
        """Record which servers have died, as discovered in the test with this node id."""
        for server in self.servers.new_deaths():
            self.deaths.append(
                ServerDeath(
                    kind=server.kind,
                    implementation=server.implementation,
                    test=test,
                    reason=str(server.lost).partition("\n")[0],
                    log_file=self._relative(server.log_files[0]) if server.log_files else "",
                )
            )

    def _relative(self, path: Path) -> str:
        directory = self.directory().absolute()
        return Path(os.path.relpath(path.absolute(), directory)).as_posix()

    # -- the baseline -------------------------------------------------------------------------

    def read_baseline(self) -> None:
        """Read the baseline, if any.

        Raises:
            OptionError: the options contradict each other.
            SavedRunError: the baseline exists and cannot be read.
        """
        self.baseline = Baseline.of(self.settings)

    def against_baseline(self, result: CaseResult) -> CaseResult:
        """Return the case with a clause for each gate; unchanged without a baseline."""
        if self.baseline is None:
            return result
        baseline = self.baseline.by(of_search=isinstance(result, CapacityCase))
        if not baseline.gates:
            return result
        known = [*(one for one in self.results if not one.probe), result]
        tests = {one.nodeid for one in known}
        cases = {(one.nodeid, one.label) for one in known}
        more = len(cases) - len(tests)  # cases beyond one per test
        return baseline.judge(result, self.run(), among=self.cases + more)

    def policy(self, result: CaseResult) -> InconclusivePolicy:
        """Return what to do with an inconclusive case."""
        undecided = [one for one in result.clauses if one.verdict == "inconclusive"]
        baseline = self.baseline
        if baseline is None or baseline.has(result):
            return self.settings.on_inconclusive
        alone = all(one.is_gate for one in undecided)
        return self.settings.on_missing_baseline if alone else self.settings.on_inconclusive

    # -- results ------------------------------------------------------------------------------

    def directory(self) -> Path:
        """Return this run's directory, created at the first call.

        Raises:
            OptionError: it cannot be created or written to.
        """
        if self._directory is None:
            stamp = self.started.strftime("%Y%m%d-%H%M%S")
            parent = self.settings.results
            try:
                parent.mkdir(parents=True, exist_ok=True)
                for name in chain([stamp], (f"{stamp}-{number}" for number in count(2))):
                    try:
                        (parent / name).mkdir()
                        break
                    except FileExistsError:
                        if not parent.is_dir():
                            raise
            except (OSError, ValueError) as error:  # ValueError: a null byte in the name
                raise OptionError(
                    f"--servebench-results={str(parent)!r}: not writable: {error}. "
                    "Give a writable directory."
                ) from error
            self._directory = parent / name
        return self._directory

    def discard_empty_directory(self) -> None:
        """Remove this run's directory if it is empty."""
        directory = self._directory
        if directory is None or any(
            path.is_file() and path.stat().st_size for path in directory.rglob("*")
        ):
            return
        shutil.rmtree(directory, ignore_errors=True)

    def server_logs(self) -> Path | None:
        """Return the directory of the server logs; ``None`` if no server was started."""
        if self._directory is None or not (self._directory / "servers").is_dir():
            return None
        return self._directory / "servers"

    def expect(self, item: pytest.Item) -> None:
        """Count a test among the cases of this session."""
        self.lines[item.nodeid] = (item.location[1] or 0) + 1
        self.files[item.nodeid] = item.path
        self.cases += 1

    def number(self, nodeid: str) -> str:
        """Return the number of a test's case, such as ``3/12``; empty if unknown."""
        ids = list(self.lines)
        return f"{1 + ids.index(nodeid)}/{self.cases}" if nodeid in self.lines else ""

    def save_records(self, result: CaseResult) -> CaseResult:
        """Write the records at once, before anything can go wrong; return the result with the file.

        If they cannot be written, the result has no file, and ``troubles`` says why.
        """
        safe = file_name(result.name)
        path = self.directory() / "records" / f"{safe}.npz"
        with self.attempt(f"the records of {result.name}", "the summary figures are saved"):
            path.parent.mkdir(parents=True, exist_ok=True)
            number = 1
            while path.exists():
                number += 1
                path = path.with_name(f"{safe}-{number}.npz")
            if result.records is not None:
                result.records.save(path)
            return dataclasses.replace(result, records_file=f"records/{path.name}")
        return result

    @contextmanager
    def attempt(
        self, what: str, remedy: str = "", *, failure: str = "could not be written"
    ) -> Iterator[None]:
        """Catch any failure of the body, and report it at the end of the session."""
        try:
            yield
        except _FAILURES as error:
            text = f"{what} {failure}: {described(error)}"
            trouble = clean(f"{text}; {remedy}" if remedy else text)
            if trouble not in self.troubles:  # what is saved after every case may fail every time
                self.troubles.append(trouble)

    def log_parts(self, before: Mapping[Path, int]) -> tuple[LogPart, ...]:
        """Return the parts of logs written since they had ``before`` lines."""
        return tuple(
            LogPart(self._relative(path), before[path], max(0, now - before[path]))
            for path, now in self.log_lines.of(before).items()
        )

    def run(self) -> Run:
        """Return the run so far."""
        return Run(
            name=self.directory().name,
            started=self.started.isoformat(timespec="milliseconds"),
            machine=machine_facts(),
            versions=installed_versions(),
            cases=tuple(one for one in self.results if not one.probe),
            probes=tuple(one for one in self.results if one.probe),
            capacities=tuple(self.recorded.capacities),
            interleaved=self.settings.interleave,
            deaths=tuple(self.deaths),
            not_measured=max(0, self.cases - len(self.recorded.tests())),
            finished=self.finished,
        )

    def report(self) -> dict[str, Any]:
        """Return the value of ``servebench`` in the JSON, after the hooks have changed it.

        If a hook fails or leaves an invalid run, ``troubles`` says so.
        """
        if self._report is None:
            own = self._report = self.run().to_dict()
            changed = self.run().to_dict()
            hook = "pytest_servebench_update_report"
            with self.attempt(hook, failure="failed"):
                self.config.hook.pytest_servebench_update_report(config=self.config, report=changed)
            changed = plain(changed)
            with self.attempt(
                hook, "the run is saved without its changes", failure="left an invalid run"
            ):
                decode(Run, {**changed, "name": changed["run"]})
                own = changed
            self._report = own
        return self._report
