"""The quick way to read a file gives what :mod:`json` gives, or leaves the file to it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import SavedRunError
from pytest_servebench.runs.run_json import quickly_loaded, read_heading
from simulation import saved
from tests.sample import SAMPLE

SPACE = st.text(" \t\r\n", max_size=2)
NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.integers(-(2**66), 2**66).map(str),
    st.sampled_from([2**63, 2**64, -(2**63)]).flatmap(
        lambda edge: st.integers(edge - 2, edge + 2).map(str)
    ),
    st.floats().map(json.dumps),
    st.sampled_from(["-0", "-0.0", "1e400", "-1e400", "1e-400", "01", "1.", "+1", "9" * 5000]),
)
STRINGS = st.one_of(
    st.text(max_size=6).map(json.dumps),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.text(":, -0123456789\\\"/ud8cé\0\x7f", max_size=30).map(lambda text: f'"{text}"'),
    st.sampled_from([r'"\ud800"', r'"\udc00\ud800"', r'"\ud83d\ude00"', '"é😀"', f'"{"0" * 64}"']),
)  # fmt: skip
KEYS = st.one_of(st.sampled_from(['"a"', '"b"', '"\\u0061"', '""']), STRINGS)


def spaced(parts: list[str], ends: str, space: str) -> str:
    return f"{ends[0]}{space}{f'{space},'.join(parts)}{space}{ends[1]}"


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.builds(lambda key, space, value: f"{key}{space}:{space}{value}", KEYS, SPACE, values)
    return st.builds(spaced, st.lists(pairs, max_size=4), st.just("{}"), SPACE)


VALUES = st.recursive(
    st.one_of(NUMBERS, STRINGS, st.sampled_from(["true", "false", "null", "nul", "Infinity", ""])),
    lambda inner: st.one_of(
        objects(inner), st.builds(spaced, st.lists(inner, max_size=4), st.just("[]"), SPACE)
    ),
    max_leaves=12,
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])


def as_ever(content: bytes) -> Any:
    """Return what json reads, or that it refuses it."""
    try:
        return json.loads(content.decode(json.detect_encoding(content)))
    except ValueError as error:
        return error


def same(content: bytes) -> bool:
    quick = quickly_loaded(content)
    # repr() tells 1 from 1.0 and 0.0 from -0.0, and shows the order of keys.
    return quick is None or repr(quick) == repr(as_ever(content))


@given(objects(VALUES), ENCODINGS)
def test_what_is_read_quickly_is_what_json_reads(text: str, encoding: str) -> None:
    assert same(text.encode(encoding, "surrogatepass"))


@given(objects(VALUES), st.data())
def test_what_is_broken_anywhere_is_read_alike(text: str, data: st.DataObject) -> None:
    content = text.encode()
    place = data.draw(st.integers(0, len(content)))
    assert same(content[:place] + data.draw(st.binary(max_size=2)) + content[place + 1 :])


@pytest.mark.parametrize(
    "text",
    ["18446744073709551616", "-9223372036854775809", "9" * 5000, "1e400", "NaN", '"\\ud800"'],
)
@pytest.mark.parametrize("form", ['{{"a":{}}}', '{{"a": [0, {}]}}', '{{"a":[{},1]}}'])
def test_what_json_reads_otherwise_is_left_to_it(form: str, text: str) -> None:
    assert quickly_loaded(form.format(text).encode()) is None


def test_our_own_files_are_read_quickly(tmp_path: Path) -> None:
    content = saved.save(saved.queue_run(number=50), tmp_path).read_bytes()
    assert quickly_loaded(content) == json.loads(content)
    assert quickly_loaded((SAMPLE / "run.json").read_bytes()) is not None


def test_what_is_nested_too_deep_is_refused_in_one_line(tmp_path: Path) -> None:
    file = saved.save(saved.queue_run(number=50), tmp_path)
    whole = file.read_text()
    for levels in (500, 100_000):
        nested = "[" * levels + "]" * levels
        file.write_text(whole.replace("{", f'{{"deep": {nested},', 1))
        if levels == 500:
            assert read_heading(file)[0].cases
            continue
        with pytest.raises(SavedRunError) as error:
            read_heading(file)
        assert "\n" not in str(error.value)
