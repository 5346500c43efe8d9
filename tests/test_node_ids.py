"""What a node id says of its test."""

from dataclasses import replace

import pytest

from pytest_servebench.report.capacity_table import names
from pytest_servebench.report.variants import variants
from pytest_servebench.runs.node_ids import cell_id, cell_of, function_of, short_labels, without
from simulation import capacities, saved


@pytest.mark.parametrize(
    ("nodeid", "function", "cell"),
    [
        ("test_it.py::test_a[toy-rate5]", "test_it.py::test_a", "toy-rate5"),
        ("a[1]/test_it.py::TestC::test_a[x::y[0]]", "a[1]/test_it.py::TestC::test_a", "x::y[0]"),
        ("test_it.py::test_a", "test_it.py::test_a", ""),
        ("test_a[toy]", "test_a", "toy"),
        ("", "", ""),
    ],
)
def test_an_id_has_a_function_and_a_cell(nodeid: str, function: str, cell: str) -> None:
    assert function_of(nodeid) == function
    assert cell_of(nodeid) == cell


@pytest.mark.parametrize(
    ("functions", "labels"),
    [
        (["t.py::test_a"], ["test_a"]),
        (["t.py::test_a", "t.py::test_b"], ["test_a", "test_b"]),
        (["t.py::test_a", "t.py::TestC::test_a", "t.py::test_b"],
         ["t.py::test_a", "TestC::test_a", "test_b"]),
        (["x/t.py::test_a", "x/u.py::test_a"], ["t.py::test_a", "u.py::test_a"]),
        (["t.py::test_a", "x/t.py::test_a"], ["t.py::test_a", "x/t.py::test_a"]),
        (["y/x/t.py::test_a", "z/x/t.py::test_a"], ["y/x/t.py::test_a", "z/x/t.py::test_a"]),
        (["t.py::test_a", "t.py::more_test_a"], ["test_a", "more_test_a"]),
    ],
)  # fmt: skip
def test_a_label_is_the_shortest_that_tells(functions: list[str], labels: list[str]) -> None:
    assert list(short_labels(functions).values()) == labels
    assert list(short_labels(functions[::-1]).values()) == labels[::-1]


@pytest.mark.parametrize(
    ("cell", "part", "left"),
    [
        ("8-toy-rate10", "toy", "8-rate10"),
        ("8-toy2-rate10", "toy", "8-toy2-rate10"),
        ("toy-toy", "toy", "toy"),
        (r"altes Ger\xe4t-rate10", "altes Gerät", "rate10"),
        ("altes Gerät-rate10", "altes Gerät", "rate10"),
        (" old   engine-rate10", "old engine", "rate10"),
        ("a+b-rate10", "a+b", "rate10"),
    ],
)
def test_a_part_is_taken_out_however_the_id_spells_it(cell: str, part: str, left: str) -> None:
    assert without(cell, [part]) == left


@pytest.mark.parametrize("cell", ["{name}-8", "{name}-{url}-8", "{url}-{name}-8", "{url}-8"])
def test_servers_of_one_test_are_told_by_name_and_url(cell: str) -> None:
    made, cases = saved.case(), []
    for name, url in (("old engine", "http://127.0.0.1:8765"), ("new", "http://gpu-2:80/api")):
        server = replace(made.server, kind=name, base_url=url)
        nodeid = f"test_it.py::test_a[{cell.format(name=name, url=url)}]"
        cases.append(replace(made, server=server, nodeid=nodeid))
    assert {cell_id(case) for case in cases} == {"test_it.py::test_a[8]"}
    assert set(variants(cases)) == {"test_a"}


def test_searches_of_a_parametrized_test_are_told_by_its_parameters() -> None:
    made = capacities.capacity()
    kind = made.server.kind
    found = [
        replace(made, nodeid=f"test_it.py::test_a[{kind}-buffer{made.buffer_size}-{own}]")
        for own in ("short", "long")
    ]
    told = names(found)
    assert [name.rpartition("[")[2] for name in told] == ["short]", "long]"]
    assert names(found[:1])[0] == told[0].removesuffix("[short]")
