"""From a test's server and arguments to the traffic it gets, for every fixture that sends load."""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Final

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrival_forms import parse_arrivals
from pytest_servebench.load.arrivals import ArrivalProcess
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.target import Target
from pytest_servebench.measure import traffic
from pytest_servebench.measure.traffic import AnswerCheck, Traffic
from pytest_servebench.plugin import event_loops
from pytest_servebench.plugin.cases import MARKER, marked_seconds, marked_text
from pytest_servebench.plugin.cells import Cell
from pytest_servebench.plugin.option_values import number_of
from pytest_servebench.plugin.options import SECONDS
from pytest_servebench.plugin.parameters import PARAMETERS
from pytest_servebench.plugin.revival import revive
from pytest_servebench.plugin.state import PROGRESS, session_of
from pytest_servebench.protocols.base import Request
from pytest_servebench.protocols.openai import OpenAiApi
from pytest_servebench.servers.attached import AttachedServer, UnknownProtocol, any_server
from pytest_servebench.servers.base import RunningServer, is_running_server
from pytest_servebench.servers.first_prediction import check_mismatch
from pytest_servebench.servers.shared import SharedServer
from pytest_servebench.streaming.formats import MOST_PARTS
from pytest_servebench.streaming.openai import CONTENT
from pytest_servebench.text.safe import clean

_OWN: Final[Mapping[str, Callable[[str], Any]]] = {
    **{name: one.read for name, one in PARAMETERS.items()}, "duration": SECONDS,
}  # fmt: skip
_LABEL: Final = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class PlannedLoad:
    """A server, and what it is sent.

    Attributes:
        server: the running server.
        traffic: the requests, and how answers are checked.
        spec: the load.
    """

    server: RunningServer
    traffic: Traffic
    spec: LoadSpec

    def await_loaded(self, item: pytest.Item) -> None:
        """Wait until an attached server has loaded its model.

        Raises:
            ServebenchError: it did not.
        """
        last = self.traffic.requests[-1]  # as the warm-up does: no cache may know the first
        if (
            isinstance(self.server, AttachedServer)
            and self.spec.warmup > 0  # the warm-up sends it anyway
        ):
            settings = session_of(item.config).settings.server
            what, patience = f"waiting for {clean(self.server.kind)}", settings.start_timeout
            with item.config.stash[PROGRESS].shown(what, patience=patience):
                self.server.await_loaded(last, settings.tls)


class Sending:
    """Says how a test's load is made, by its fixture's arguments, its markers and the options.

    Args:
        item: the test.
        cell: its parameters.
        fixture: name of the fixture, for messages.
    """

    def __init__(self, item: pytest.Item, cell: Cell, fixture: str) -> None:
        self._item = item
        self._cell = cell
        self._fixture = fixture

    def to(
        self,
        server: object,
        requests: Sequence[Request] | None,
        check: AnswerCheck | None,
        arrivals: ArrivalProcess | str | None,
        name: str | None,
        given: Mapping[str, object],
    ) -> PlannedLoad:
        """Return what to send to a server, which is restarted if it died in an earlier test.

        The arguments are those of the fixture; ``given`` are its own values of parameters and
        duration.

        Raises:
            ServebenchError: an argument is invalid, or the server cannot be reached.
        """
        session = session_of(self._item.config)
        if isinstance(server, SharedServer):  # the test may have got it without naming its fixture
            revive(self._item, server.kind)
        if not is_running_server(server):
            server = any_server(server, session.settings.server, name, session.known, self._fixture)
        elif name is not None:
            raise OptionError(
                f"{self._fixture}(server, name={name!r}): {server.kind} already has a name; omit "
                "name=, which is for a server given by URL."
            )
        target = Target.parse(server.base_url, session.settings.server.tls)
        if (why := event_loops.blocked(target, self._fixture)) is not None:
            raise OptionError(why)
        own = {key: _number(self._fixture, key, value) for key, value in given.items()}
        sent = self._traffic(server, requests, check, own.get("rows"))
        return PlannedLoad(server, sent, self._spec(server, target, sent, arrivals, own))

    def label(self, spec: LoadSpec, given: str | None, taken: Collection[str]) -> str:
        """Return a label that is not taken: the given one, or what differs from the test's values.

        Raises:
            OptionError: the given one has other characters than a label may have.
        """
        if given is not None and not (isinstance(given, str) and _LABEL.fullmatch(given)):
            raise OptionError(
                f"{self._fixture}(label={given!r}): use only letters, digits and ._+-"
            )
        label = given or "-".join(
            one.id(getattr(spec, name))
            for name, one in PARAMETERS.items()
            if getattr(spec, name) != getattr(self._cell, name)
        )
        numbered = (f"{label}-{number}" if label else f"{number}" for number in count(2))
        return next(one for one in chain([label], numbered) if one not in taken)

    def _spec(
        self,
        server: RunningServer,
        target: Target,
        sent: Traffic,
        arrivals: ArrivalProcess | str | None,
        own: Mapping[str, Any],
    ) -> LoadSpec:
        item = self._item
        load = session_of(item.config).settings.load
        load = dataclasses.replace(
            load,
            duration=own.get("duration") or marked_seconds(item, "duration", load.duration),
            warmup=marked_seconds(item, "warmup", load.warmup),
            timeout=marked_seconds(item, "timeout", load.timeout),
            arrivals=self._arrivals(arrivals) or sent.arrivals or load.arrivals,
            # Arrivals differ between repeats, but not between servers.
            seed=load.seed + self._cell.repeat - 1,
        )
        if sent.ways:
            load = dataclasses.replace(
                load, terms=dataclasses.replace(load.terms, most_parts=MOST_PARTS)
            )
        prepared = sent.prepared(server.protocol, target, keep_alive=load.terms.keep_alive)
        return LoadSpec(
            **load.shared_with(LoadSpec),
            target=target,
            requests=prepared,
            answers=sent.answer_places(prepared) if sent.answers else (),
            reader=CONTENT if sent.answers else "",
            choice=sent.choice,
            think=sent.think,
            **{name: own.get(name, getattr(self._cell, name)) for name in PARAMETERS},
            transport=sent.transport,
        )

    def _arrivals(self, given: ArrivalProcess | str | None) -> ArrivalProcess | None:
        where = f"{self._fixture}(arrivals=…)"
        if given is None:
            where = "@pytest.mark.servebench(arrivals=…)"
            given = marked_text(self._item, "arrivals")
        if given is None:
            return None
        if not isinstance(given, str):
            if not all(hasattr(given, name) for name in ("schedule", "mean_rate", "check")):
                raise OptionError(
                    f"{where}: {reprlib.repr(given)} is not an arrival process; give a string such "
                    'as "gamma:4", or an object such as pytest_servebench.Gamma(4).'
                )
            return given
        try:
            return parse_arrivals(given, self._item.path.parent)
        except ValueError as error:
            raise OptionError(f"{where}: {given!r}: {error}.") from None

    def _traffic(
        self,
        server: RunningServer,
        requests: Sequence[Request] | None,
        check: AnswerCheck | None,
        rows: int | None,
    ) -> Traffic:
        hook = self._item.ihook  # honours the conftest files of this test
        if requests is None:
            requests = hook.pytest_servebench_requests(item=self._item, server=server)
        if requests is not None:
            if rows is None and self._cell.rows != 1:
                raise OptionError(
                    f"rows={self._cell.rows} ({PARAMETERS['rows'].option}, the marker, or the "
                    "test's own parameter or fixture of that name) is for the model's inputs; "
                    "requests of your own are sent as they are. Say how many samples each has: "
                    f"{self._fixture}(server, requests=…, rows=…); or leave the test out: "
                    f"@pytest.mark.{MARKER}(rows=1)."
                )
            sent = traffic.of_requests(requests)
        else:
            if isinstance(server.protocol, (UnknownProtocol, OpenAiApi)):
                server.protocol.refuse(self._fixture)  # before loading a model that would not help
            check_mismatch(server)
            model = session_of(self._item.config).model()
            sent = traffic.of_model(model, server.protocol, rows or self._cell.rows)
        if check is not None:
            sent = sent.checked_by(check)

        def ask_hooks(request: Request, answer: Any) -> None:
            for returned in hook.pytest_servebench_check_answer(
                item=self._item, server=server, request=request, answer=answer
            ):
                traffic.heed(returned)

        return sent.checked_by(ask_hooks)


def _number(fixture: str, name: str, value: object) -> Any:
    try:
        return number_of(_OWN[name], value)
    except ValueError as error:
        raise OptionError(f"{fixture}({name}={value!r}): {error}.") from None
