"""Paths to values in JSON: ``result.scores``, ``outputs.0.data``."""

from functools import partial
from typing import Any

from pytest_servebench.errors import OptionError
from pytest_servebench.protocols.answers import bad
from pytest_servebench.protocols.base import Answer
from pytest_servebench.protocols.json_values import Bad, parsed


def check_path(path: str) -> None:
    """Check what can be checked of a path without an answer.

    Raises:
        OptionError: two of several paths would give outputs of one name.
    """
    names = [each.strip().rpartition(".")[2] for each in path.split(",")]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(
                f"answer = {path!r}: two outputs would have the name {name!r}: the last part of "
                "each path is the name."
            )


def answered(answer: Answer, path: str) -> tuple[Any, Bad]:
    """Return what is at a path in an answer of JSON, and what makes the errors about it.

    Raises:
        BadResponseError: it is not JSON, or has nothing there.
    """
    expected = "a prediction in JSON (the setting answer is the path to it)"
    wrong = partial(bad, answer=answer, expected=expected)
    return read_path(parsed(answer.body, wrong), path, wrong), wrong


def read_path(value: Any, path: str, wrong: Bad) -> Any:
    """Return what is at a path in parsed JSON.

    Args:
        value: the whole answer.
        path: names of members and numbers of list items, joined by dots; empty: all of it. Several
            paths, joined by commas, give an object: each value has the last name of its path.
        wrong: makes the error.

    Raises:
        BadResponseError: there is no such value; the message says where the path ends.
    """
    if "," in path:
        paths = [each.strip() for each in path.split(",")]
        return {each.rpartition(".")[2]: _at(value, each, wrong) for each in paths if each}
    return _at(value, path, wrong) if path else value


def _at(value: Any, path: str, wrong: Bad) -> Any:
    seen: list[str] = []
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            where = f'at "{".".join(seen)}"' if seen else "at its top"
            raise wrong(f'has no "{path}": {where} there is {_described(value)}')
        seen.append(step)
    return value


def _described(value: Any) -> str:
    if isinstance(value, dict):
        names = ", ".join(map(repr, list(value)[:10]))
        return f"an object with {names or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"
