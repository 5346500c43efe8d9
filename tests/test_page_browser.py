"""Pages as a browser shows them: at three widths, in both themes, by keyboard, to axe."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.analysis.comparability import Difference
from pytest_servebench.analysis.compare import compare
from pytest_servebench.objectives.gates import parse_gates
from pytest_servebench.report.page import comparison_page, write_page
from pytest_servebench.runs.results import ClauseResult, Run
from pytest_servebench.stats.estimates import ClassFigures
from simulation import saved
from tests.pages import plain_run
from tests.report import made_runs

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDTHS = {1440: "light", 800: "dark", 390: "light"}
PAGES = ("report", "calm", "hostile", "comparison", "unjudged", "plain", "twelve", "capacity")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.servers,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome"),
]

TROUBLE = Path(__file__).with_name("page_trouble.js").read_text()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("pages")
    run = made_runs.overloaded_run(8.0)
    logs = directory / "servers" / "torchserve"
    logs.mkdir(parents=True)
    (logs / "server.log").write_text("2025-03-01 WARN no worker is free " * 20 + "\n")
    long = dataclasses.replace(
        run.cases[-1], failures={"error_status: status 503, 'the model is busy' " + "x" * 120: 7}
    )
    run = dataclasses.replace(run, cases=(*run.cases[:-1], long))
    write_page(run, directory, run.to_dict() | {"commit": "f" * 90}, directory / "report.html")
    calm = saved.busy_run(300)
    clause = ClauseResult("p99<500ms", "p99", 0.5, 0.1, 0.05, None, "passed", "p99 is well below")
    calm = dataclasses.replace(
        calm, cases=tuple(dataclasses.replace(case, clauses=(clause,)) for case in calm.cases)
    )
    several = tuple(  # of three tests, without an SLO, and of one with classes of requests
        dataclasses.replace(
            case,
            name=f"{test.rpartition('::')[2]}[{index}]",
            nodeid=f"test_it.py::{test}[{index}]",
            classes=tuple(
                ClassFigures(name, case.summary)
                for name in ("chat", "a class with a long name")
                if test == "test_other"
            ),
        )
        for index, case in enumerate(saved.busy_run(100).cases[:8])
        for test in ("test_load", "TestWithALongName::test_load", "test_other")
    )
    runs = {
        "calm": calm, "unjudged": saved.run(several), "plain": plain_run(),
        "twelve": made_runs.twelve_run(), "hostile": made_runs.hostile_run(),
        "capacity": made_runs.capacity_run("slower", "above", "generator", "died"),
    }  # fmt: skip
    for name, made in runs.items():
        write_page(made, directory, output=directory / f"{name}.html")
    (directory / "comparison.html").write_text(_comparison(directory))
    return {name: directory / f"{name}.html" for name in PAGES}


def _comparison(directory: Path) -> str:
    def queues(name: str, **changes: Any) -> Run:
        return saved.queue_run(name, number=1200, **changes)

    base = queues("base")
    found = [
        (compare(base, queues("slower", slower=1.6, failed=0.01), parse_gates("p50:5%,p99:10%")),
         [Difference("machine", "EPYC in BASE, Xeon in NEW")], ()),
        (compare(base, queues("same")), (), ()),
        (compare(base, queues("other")), (), [Difference("weights", "sha256 1 in BASE, 2 in NEW")]),
    ]  # fmt: skip
    return comparison_page(found, directory, [directory] * 3)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


class Visit:
    """One page in one window; everything that it asked for or complained about is kept."""

    def __init__(self, browser: Any, path: Path, width: int, theme: str, anchor: str = "") -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme
        )
        self.page = self.context.new_page()
        self.page.on("console", lambda one: self.complaints.append(f"{one.type}: {one.text}"))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.url = path.as_uri()
        self.page.goto(self.url + anchor)

    def open_all(self, most: int = 1000) -> None:
        self.page.evaluate(
            f"[...document.querySelectorAll('details')].slice(0, {most}).forEach((one) => "
            "one.open = true)"
        )


@pytest.fixture
def visit(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    visits: list[Visit] = []

    def go(name: str = "report", width: int = 1440, theme: str = "light", anchor: str = "") -> Any:
        visits.append(Visit(browser, pages[name], width, theme, anchor))
        return visits[-1]

    yield go
    for one in visits:
        assert one.complaints == []
        assert [url for url in one.requests if not url.startswith((one.url, "data:"))] == []
        one.context.close()


@pytest.mark.parametrize(
    ("name", "width"),
    [
        (name, width)
        for name in PAGES
        for width in (WIDTHS if name in ("report", "comparison") else (1440, 390))
    ],
)
def test_nothing_overlaps_is_clipped_or_scrolls_sideways(visit: Any, name: str, width: int) -> None:
    page = visit(name, width, WIDTHS[width])
    assert page.page.evaluate(TROUBLE) == []
    page.open_all()
    assert page.page.evaluate(TROUBLE) == []
    assert page.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_check_finds_texts_that_lie_over_each_other(visit: Any) -> None:
    page = visit().page
    page.evaluate(
        "document.querySelectorAll('svg.chart text')[1].setAttribute('y',"
        "document.querySelectorAll('svg.chart text')[0].getAttribute('y'))"
    )
    assert any(one.startswith("over each other") for one in page.evaluate(TROUBLE))


@pytest.mark.parametrize("name", ["report", "hostile", "comparison", "twelve", "capacity"])
def test_axe_finds_nothing_serious(visit: Any, name: str) -> None:
    seen = visit(name)
    page = seen.page
    # The first cases, tables, rows and panels stand for the others, which take most of axe's time.
    page.evaluate(
        "[...[...document.querySelectorAll('details.case')].slice(2), "
        "...[...document.querySelectorAll('table')].slice(12), ...document.querySelectorAll("
        "'tbody tr:nth-child(n + 4), .panels > :nth-child(n + 4)')].forEach((one) => one.remove())"
    )
    seen.open_all()
    everything = {"resultTypes": ["violations"]}
    for theme, options in (
        ("light", everything),
        ("dark", everything | {"runOnly": ["color-contrast"]}),
    ):
        page.emulate_media(color_scheme=theme)
        found = axe.Axe().run(page, options=options).response["violations"]
        bad = [
            (theme, one["id"], one["impact"], one["nodes"][0]["html"][:200])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert bad == []


def _column(page: Any, number: int) -> list[str]:
    cells = page.locator(f"table.cases tbody tr:visible > :nth-child({number})")
    return ["".join(text.split()) for text in cells.all_inner_texts()]


def test_columns_sort_in_both_directions_and_back(visit: Any) -> None:
    page = visit().page
    head = page.locator("table.cases th", has_text="p50 ms")
    number = head.evaluate("(one) => one.cellIndex") + 1
    first = _column(page, number)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(text.strip("()").replace("∞", "inf")) for text in _column(page, number)]
    assert values == sorted(values)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(text.strip("()").replace("∞", "inf")) for text in _column(page, number)]
    assert values == sorted(values, reverse=True)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert _column(page, number) == first


def test_a_badge_takes_one_line_whatever_the_verdict(visit: Any) -> None:
    page = visit("unjudged").page
    assert page.locator(".verdict.none:visible").count() > 0
    heights = [one.bounding_box()["height"] for one in page.locator(".verdict:visible").all()]
    assert max(heights) < 40


def test_filters_hide_rows_and_drill_downs_and_tell_how_many_are_left(visit: Any) -> None:
    page = visit().page
    drills = page.locator("details.case:visible")
    rows = page.locator("table.cases tbody tr:visible")
    every = rows.count()
    page.get_by_label("server", exact=True).select_option(label="TorchServe")
    assert rows.count() == drills.count() == every // 2
    page.get_by_label("verdict", exact=True).select_option("failed")
    assert set(_column(page, 4)) == {"✗failed"}
    left = rows.count()
    assert page.locator("#filters output").inner_text() == f"{left} of {every} cases"
    page.get_by_label("text", exact=True).fill("rate100-buffer50")
    assert rows.count() == 1
    assert page.locator("a.cell:not(.dim)").count() == 1
    page.get_by_label("text", exact=True).fill("no such thing")
    assert rows.count() == 0
    assert page.locator("#nothing").is_visible()
    page.get_by_role("button", name="Show all").click()
    page.locator("#nothing").wait_for(state="hidden")
    assert rows.count() == every


def test_a_chosen_server_stands_out_of_twelve(visit: Any) -> None:
    page = visit("twelve").page
    curves = page.locator('#sweeps .chart path[class^="line "]')
    faint = page.locator('#sweeps .chart path[class^="line "].dim')
    assert (curves.count(), faint.count()) == (12 * 11, 0)
    page.get_by_label("server", exact=True).select_option(label="Triton")
    assert faint.count() == 11 * 11
    page.get_by_role("button", name="Show all").click()
    page.locator("table.cases tbody tr").last.wait_for()
    assert faint.count() == 0
    page.locator("#evaluation summary").click()
    assert page.get_by_role("region", name="Pairs of servers").is_visible()


def test_a_deep_link_opens_its_case_also_when_it_is_filtered_away(visit: Any) -> None:
    anchor = "#case-torchserve-rate200-buffer50"
    page = visit(anchor=anchor).page
    assert page.locator(anchor).get_attribute("open") is not None
    assert page.locator(anchor).bounding_box()["y"] < 900
    page.locator(anchor).locator("summary").click()
    page.get_by_label("server", exact=True).select_option(label="TensorFlow Serving")
    assert not page.locator(anchor).is_visible()
    page.locator(f'#attention a[href="{anchor}"]').first.click()
    page.locator(f"{anchor}[open]").wait_for()


def test_a_link_to_a_probe_opens_what_it_is_folded_in(visit: Any) -> None:
    page = visit("capacity").page
    assert page.locator("details.case:visible").count() == 0
    page.locator("#capacity details.further > summary").first.click()
    page.locator('#capacity a[href^="#case-"]:visible').nth(2).click()
    assert page.locator("details.case[open] svg.chart:visible").count() == 2
    page.locator("#capacity details.further > summary").first.click()
    page.evaluate("dispatchEvent(new Event('hashchange'))")
    page.locator("details.case[open]").wait_for(state="visible")


def test_the_keyboard_reaches_and_works_everything(visit: Any) -> None:
    page = visit().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    summary = page.locator("details.case summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.case").first.get_attribute("open") is not None
    sort = page.locator("table.cases th button").first
    sort.focus()
    page.keyboard.press("Space")
    assert page.locator("table.cases th").first.get_attribute("aria-sort") == "ascending"


def test_the_theme_follows_the_system_and_the_choice_is_remembered(visit: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page = visit(theme="dark").page
    assert page.evaluate(ground) == "rgb(13, 17, 23)"
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate(ground) == "rgb(244, 246, 248)"
    page.reload()
    assert page.evaluate(ground) == "rgb(244, 246, 248)"
    assert page.get_by_role("button", name="Dark theme").is_visible()


def test_paper_shows_every_case(visit: Any) -> None:
    page = visit().page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.case:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.case[open]").count() == 0


def test_a_phone_shows_the_latencies_of_all_cases_without_scrolling(visit: Any) -> None:
    page = visit(width=390).page
    frame = page.locator("#cases .scroll").bounding_box()
    for heading in ("p50 ms", "p95 ms", "p99 ms"):
        box = page.locator("table.cases th", has_text=heading).first.bounding_box()
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
    row = page.locator("table.cases tbody tr").first
    assert row.locator("th").inner_text().endswith("10/s, buffer 10")
    assert not row.locator("td.wide").first.is_visible()
    assert row.locator(".verdict").bounding_box()["width"] < 40


def test_paper_is_light_and_its_texts_do_not_overlap(visit: Any) -> None:
    page = visit(width=1040, theme="dark").page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(TROUBLE) == []
    colours = page.evaluate(
        "[...document.querySelectorAll('details.case')].map("
        "(one) => getComputedStyle(one).borderLeftColor)"
    )
    assert len(set(colours)) == 2  # as many as servers


def test_everything_can_be_read_without_scripts(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["report"].as_uri())
    assert page.locator("table.cases tbody tr").count() == 16
    assert not page.locator("#filters").is_visible()
    assert not page.locator("#theme").is_visible()
    page.locator("details.case summary").first.click()
    assert page.locator("details.case svg.chart").first.is_visible()
    context.close()


def test_a_comparison_is_sorted_by_its_changes(visit: Any) -> None:
    page = visit("comparison").page
    table = page.locator("table.forests").first
    table.locator("th button", has_text="change").click()
    sorts = [row.get_attribute("data-sort") for row in table.locator("td:nth-child(2)").all()]
    values = [float(text or "nan") for text in sorts]
    assert values == sorted(values)
    link = table.locator("tbody a").first
    target = link.get_attribute("href")
    link.click()
    assert page.locator(target).bounding_box()["y"] < 900
