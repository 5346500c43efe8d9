"""Prompts for a language model: from a file, or random words with a distribution of lengths."""

from __future__ import annotations

import json
import random
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrivals import ArrivalProcess
from pytest_servebench.load.choice import AtRandom, Choice
from pytest_servebench.streaming.formats import Tokenizer
from pytest_servebench.workloads.lengths import Lengths, lengths
from pytest_servebench.workloads.words import Writer

MOST_BYTES: Final = 256 * 2**20
"""Total size of all prompts."""

_GIVE_MESSAGES: Final = (
    'give a list of objects, each with its role and content: [{"role": "user", "content": "..."}]'
)
_WHAT: Final = '{"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}'


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        fields: of the request's body: ``prompt`` or ``messages``, and others, such as
            ``max_tokens``.
        where: file and line, or its number, for messages.
    """

    fields: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, given: object, where: str) -> Prompt:
        """Check what a user gave: text, or fields.

        Raises:
            OptionError: it is not a prompt; names place and remedy.
        """
        if isinstance(given, str):
            given = {"prompt": given}
        if not isinstance(given, Mapping):
            raise OptionError(f"{where}: {reprlib.repr(given)} is not a prompt: give {_WHAT}.")
        if ("prompt" in given) == ("messages" in given):
            both = "both" if "prompt" in given else "neither"
            raise OptionError(f"{where}: it has {both} of prompt and messages: give {_WHAT}.")
        if "prompt" in given and not isinstance(given["prompt"], (str, list)):
            raise OptionError(
                f"{where}: prompt is {reprlib.repr(given['prompt'])}: give a text, or a list of "
                "tokens."
            )
        if "messages" in given:
            check_messages(given["messages"], where)
        check_tokens(given.get("max_tokens"), f"{where}: max_tokens")
        return cls(dict(given), where)


def check_messages(given: object, where: str) -> None:
    """Check a list of messages, each with its role and content.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(given, list) or not given:
        raise OptionError(f"{where}: messages is {reprlib.repr(given)}: {_GIVE_MESSAGES}.")
    for number, one in enumerate(given):
        if not _is_message(one):
            raise OptionError(
                f"{where}: messages[{number}] is {reprlib.repr(one)}: {_GIVE_MESSAGES}."
            )


def _is_message(one: object) -> bool:
    """Return whether a message has a role, and a text or a list of parts as its content.

    One of the assistant may have calls of tools instead.
    """
    if not isinstance(one, Mapping) or not isinstance(one.get("role"), str):
        return False
    content = one.get("content")
    if content is None:
        return one["role"] == "assistant" and not set(one) <= {"role", "content", "name"}
    return isinstance(content, str) or (isinstance(content, list) and bool(content))


def check_tokens(given: object, where: str) -> None:
    """Check a number of tokens, which may be ``None``.

    Raises:
        OptionError: it is none.
    """
    if given is not None:
        check_number(given, where)


def check_number(given: object, where: str) -> None:
    """Check a number of tokens or prompts.

    Raises:
        OptionError: it is none.
    """
    if type(given) is not int or given < 1:
        raise OptionError(f"{where} = {given!r}: give a whole number, 1 or more.")


@dataclass(frozen=True)
class Prompts:
    """Prompts, how arrivals choose among them, and possibly their arrival times.

    Attributes:
        items: the prompts.
        source: where they come from, in words for reports.
        choice: which of them each arrival takes.
        arrivals: their arrival process, if they have one.
    """

    items: tuple[Prompt, ...] = field(repr=False)
    source: str
    choice: Choice = field(default_factory=AtRandom)
    arrivals: ArrivalProcess | None = None


def read_prompts(path: Path) -> Prompts:
    """Return the prompts of a file of JSON lines.

    Raises:
        OptionError: the file cannot be read, is empty, or a line is no prompt.
    """
    lines = json_lines(path, "prompts", _WHAT)
    return Prompts(tuple(Prompt.of(value, where) for where, value in lines), path.name)


def json_lines(path: Path, name: str, what: str) -> list[tuple[str, Any]]:
    """Return file and line of each value in a file of JSON lines, and the value.

    Args:
        path: the file.
        name: of its content, for messages.
        what: example of a line, for messages.

    Raises:
        OptionError: the file cannot be read, is empty or one array, or a line is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(
            f"The {name} {path.absolute()} cannot be read: {error.strerror}."
        ) from None
    except UnicodeDecodeError as error:
        raise OptionError(f"The {name} {path} are not UTF-8: {error}.") from None
    if text.lstrip().startswith("["):  # as ShareGPT's are published
        raise OptionError(
            f"The {name} {path} are one JSON array: write each item on its own line, for example "
            f"with jq -c '.[]' {path.name} > {path.stem}.jsonl."
        )
    found = []
    # Not splitlines(), which also splits at characters that JSON may have within a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                found.append((where, json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise OptionError(
                    f"{where}: not JSON: {error}; give one line {what} for each."
                ) from None
    if not found:
        raise OptionError(f"The {name} {path} are empty: give one line {what} for each.")
    return found


def prompts_from(given: object) -> Prompts:
    """Return the prompts that a user gave: synthetic ones, a file of JSON lines, or a list.

    Raises:
        OptionError: it is none of these, or one is not a prompt.
    """
    if isinstance(given, Prompts):
        return given
    if isinstance(given, (str, Path)):
        return read_prompts(Path(given))
    if not isinstance(given, Iterable) or isinstance(given, (bytes, Mapping)):
        raise OptionError(
            f"prompts={reprlib.repr(given)}: give the path of a file of JSON lines, a list, "
            "synthetic_prompts(...) or trace_prompts(...)."
        )
    items = tuple(Prompt.of(one, f"prompts[{number}]") for number, one in enumerate(given))
    if not items:
        raise OptionError("prompts=[]: give at least one.")
    return Prompts(items, "prompts of the test")


def synthetic_prompts(
    number: int,
    prompt_tokens: int | str | Lengths,
    output_tokens: int | str | Lengths,
    *,
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
) -> Prompts:
    """Return prompts of random words, whose lengths follow a distribution.

    Args:
        number: of prompts; an arrival takes one at random. If there are many more than arrivals in
            all loads together, a prefix cache seldom helps the server.
        prompt_tokens: their lengths: a number, ``"uniform:LOW,HIGH"``, ``"lognormal:MEAN,CV"`` or
            ``"lognormal:MEAN,CV,MOST"``.
        output_tokens: likewise of ``max_tokens``.
        seed: of lengths and words.
        tokenizer: returns the number of tokens of a text; without one, each word counts as one,
            which for most models is a few percent off.

    Raises:
        OptionError: an argument is invalid.
    """
    check_number(number, "synthetic_prompts: number")
    given = {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
    made = [(lengths(one, name), f"{name}={one!r}: at") for name, one in given.items()]
    writer = Writer(seed, tokenizer)
    draw = random.Random(f"{seed} lengths").random
    sizes = [[drawn(one, draw(), where) for one, where in made] for _ in range(number)]
    return Prompts(
        texts((writer.text(index, size), output) for index, (size, output) in enumerate(sizes)),
        f"{number} random prompts, seed {seed}",
    )


def drawn(lengths: Lengths, share: float, where: str) -> int:
    """Return a quantile of a distribution, which may be a user's.

    Raises:
        OptionError: it is no number of tokens.
    """
    found = lengths.at(share)
    check_number(found, f"{where}({share:.3g})")
    return found


def texts(made: Iterable[tuple[str, int]]) -> tuple[Prompt, ...]:
    """Return prompts of text and ``max_tokens``.

    Raises:
        OptionError: their total size is too large.
    """
    items: list[Prompt] = []
    size = 0
    for text, output in made:
        size += len(text)
        if size > MOST_BYTES:
            raise OptionError(
                f"the first {len(items)} prompts have more than {MOST_BYTES >> 20} MiB of text in "
                "total, all of which is in memory during the load: use fewer (number=, first=) "
                "or shorter ones (scale=)."
            )
        items.append(Prompt({"prompt": text, "max_tokens": output}, f"prompt {len(items)}"))
    return tuple(items)
