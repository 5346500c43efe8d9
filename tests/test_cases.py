from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.cases import exact_keywords, rate_id
from pytest_servebench.option_values import processors, several, whole


def selects(keyword: str, name: str) -> bool:
    """Whether an exact keyword without operators matches an id, as pytest does: by substring."""
    exact = exact_keywords(keyword)
    parts = exact.strip("()").split(" or ")
    return any(part in name for part in parts)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 100))
def test_a_rate_selects_itself_alone(wanted: int, other: int, buffer_size: int) -> None:
    name = f"test_load[toy-{rate_id(other)}-buffer{buffer_size}]"
    assert selects(rate_id(wanted), name) == (wanted == other)


@given(st.floats(0.001, 1e6))
def test_rate_ids_tell_rates_apart(rate: float) -> None:
    assert float(rate_id(rate).removeprefix("rate")) == rate


@pytest.mark.parametrize(
    ("given_text", "exact"),
    [
        ("rate10", "(rate10- or rate10])"),
        ("not rate10 and torchserve", "not (rate10- or rate10]) and torchserve"),
        ("(rate1 or rate0.5)", "((rate1- or rate1]) or (rate0.5- or rate0.5]))"),
        ("buffer50", "(buffer50- or buffer50])"),
        ("rate", "rate"),
        ("rate10-buffer50", "rate10-buffer50"),
        ("rate10]", "rate10]"),
        ("separate10", "separate10"),
        ("test_rate10", "test_rate10"),
    ],
)
def test_exact_keywords(given_text: str, exact: str) -> None:
    assert exact_keywords(given_text) == exact


@given(st.text(max_size=30))
def test_exact_keywords_leave_the_rest_alone(text: str) -> None:
    if "rate" not in text.lower() and "buffer" not in text.lower():
        assert exact_keywords(text) == text


def test_exact_keywords_are_idempotent_on_their_result() -> None:
    once = exact_keywords("rate10 or buffer5")
    assert exact_keywords(once) == once


def test_lists() -> None:
    read = several(whole(0, what="a number"))
    assert read("1, 2,3") == (1, 2, 3)
    with pytest.raises(ValueError, match="twice"):
        read("1,01")
    with pytest.raises(ValueError, match="empty"):
        read(" , ")


def test_processors() -> None:
    everything = processors("")
    assert processors(f"{everything[0]}-{everything[0]}") == everything[:1]
    for wrong in ("a", "3-1", "9999", "-1"):
        with pytest.raises(ValueError, match="give"):
            processors(wrong)
