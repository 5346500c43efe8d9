import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.plugin.cases import exact_keywords
from pytest_servebench.plugin.option_values import processors, several, size, time_span, whole
from pytest_servebench.plugin.options import SECONDS, SECONDS_OR_NONE
from pytest_servebench.runs.node_ids import rate_id


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


def test_lists() -> None:
    read = several(whole(0, what="a number"))
    assert read("1, 2,3") == (1, 2, 3)
    with pytest.raises(ValueError, match="twice"):
        read("1,01")
    with pytest.raises(ValueError, match="empty"):
        read(" , ")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("10s", 10), ("0.5 s", 0.5), ("250ms", 0.25), ("2min", 120), ("1.5h", 5400)],
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert SECONDS(text) == seconds


def test_a_number_without_a_unit_has_the_reader_s_own() -> None:
    read = time_span("ms", inclusive=False, what="milliseconds")
    assert [read(text) for text in ("10", "10ms", "10s")] == [10, 10, 10_000]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1000", 1000), ("16MiB", 2**24), (" 1 kB ", 1000), ("0.5mib", 2**19), ("0.1", 1)],
)
def test_sizes_have_units(text: str, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "5x", "MiB", "inf", "nan", "1e300GiB", "1 0"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="16MiB"):
        size(text)


@pytest.mark.parametrize("text", ["", "s", "10m", "10 sec", "0s", "-1s", "nan", "infs", "1e308h"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"give seconds above 0.*\(ms, s, min, h\)"):
        SECONDS(text)


@given(st.floats(0, 1e9))
def test_a_time_without_a_unit_is_the_number_itself(seconds: float) -> None:
    assert SECONDS_OR_NONE(repr(seconds)) == SECONDS_OR_NONE(f"{seconds!r}s") == seconds


def test_processors() -> None:
    everything = processors("")
    assert processors(f"{everything[0]}-{everything[0]}") == everything[:1]
    for wrong in ("a", "3-1", "9999", "-1"):
        with pytest.raises(ValueError, match="give"):
            processors(wrong)
