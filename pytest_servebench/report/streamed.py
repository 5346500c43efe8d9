"""How streamed answers were read, as text."""

from collections.abc import Mapping
from typing import Final

from pytest_servebench.load.streams import Counted
from pytest_servebench.runs.results import CaseResult, StreamedAnswers
from pytest_servebench.text.safe import clean

_COUNTED: Final[Mapping[Counted, str]] = {
    "usage": "tokens as the server counts them (usage)",
    "tokenizer": "tokens as the test's tokenizer counts them",
    "events": "tokens not known: each event with output counts as one",
}
_REMEDY: Final = {
    "openai": ' (put "stream_options": {"include_usage": true} into the requests, or give '
    "tokenizer=)",
}


def stream_facts(case: CaseResult) -> list[tuple[str, str]]:
    """Return label and text; nothing if answers were not streamed."""
    return [] if case.streamed is None else [("streamed", _text(case.streamed))]


def _text(known: StreamedAnswers) -> str:
    parts = [clean(known.format), f"{known.events:,} events with output"]
    parts.append(_COUNTED[known.counted])
    if known.counted == "events":
        parts[-1] += _REMEDY.get(known.format, " (tokenizer= counts them)")
    if known.bunched:
        parts.append(
            f"{known.bunched:,} of them read together with the one before, at an unknown distance"
        )
    if known.merged:
        parts.append(f"{known.merged:,} pieces beyond what is kept of an answer have no own time")
    return "; ".join(parts)
