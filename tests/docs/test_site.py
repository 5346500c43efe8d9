"""The site builds without a warning, every link of it leads somewhere, and nothing is left out."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import pytest_servebench
from pytest_servebench.commands.cli import BROKEN_PIPE, USAGE_ERROR
from pytest_servebench.load.records import Outcome
from pytest_servebench.plugin import fixtures, hookspecs
from pytest_servebench.protocols import PROTOCOLS
from pytest_servebench.report.comparison_text import NOT_COMPARABLE, NOTHING_WORSE, WORSE
from tests.conftest import ROOT
from tests.docs.pages import DOCS, PAGES, README, blocks, inline, tokens
from tests.pages import Html

pytestmark = pytest.mark.servers
pytest.importorskip("sphinx", reason="the dependency group docs is missing")

_OPTION = re.compile(r"cmdoption-servebench-([a-z-]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as ``tox -e docs`` does, and return its directory."""
    out = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html",
         "-d", str(out / "trees"), str(DOCS), str(out / "html")],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    return out / "html"


@pytest.fixture(scope="module")
def html(site: Path) -> dict[Path, Html]:
    return {path: Html(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_every_page_is_there(html: dict[Path, Html], site: Path) -> None:
    wanted = {path.relative_to(DOCS).with_suffix(".html") for path in PAGES if path != README}
    assert wanted <= {path.relative_to(site) for path in html}


def test_links_within_the_site(html: dict[Path, Html], site: Path) -> None:
    checked = 0
    for page, content in html.items():
        for link in filter(None, (each.get("href") for each in content.named("a"))):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.relative_to(site)}: {link}"
            if parts.fragment and target in html:
                assert unquote(parts.fragment) in html[target].attributes("id"), (page.name, link)
                checked += 1
    assert checked > 100


def test_nothing_is_loaded_from_elsewhere(html: dict[Path, Html], site: Path) -> None:
    for page, content in html.items():
        for each in (*content.named("link"), *content.named("script"), *content.named("img")):
            source = each.get("href") or each.get("src") or ""
            assert not urlsplit(source).netloc, f"{page.relative_to(site)}: {source}"


def test_pictures_have_a_text(html: dict[Path, Html], site: Path) -> None:
    for page, content in html.items():
        for picture in content.named("img"):
            assert picture.get("alt"), f"{page.relative_to(site)}: {picture.get('src')}"


def test_it_can_be_searched(site: Path) -> None:
    assert (site / "search.html").exists()
    assert "coordin" in (site / "searchindex.js").read_text()  # stemmed


# -- the reference is whole -----------------------------------------------------------------------


def test_every_option_is_in_the_reference(
    html: dict[Path, Html], site: Path, pytestconfig: pytest.Config
) -> None:
    described = set(
        _OPTION.findall(" ".join(html[site / "reference" / "options.html"].attributes("id")))
    )
    known = pytestconfig._parser.optparser._option_string_actions
    assert described == {
        name.removeprefix("--servebench-") for name in known if name.startswith("--servebench-")
    }


def test_every_public_name_is_in_the_reference(html: dict[Path, Html], site: Path) -> None:
    ids = set(html[site / "reference" / "api.html"].attributes("id"))
    assert {f"pytest_servebench.{name}" for name in pytest_servebench.__all__} <= ids
    ids = set(html[site / "reference" / "protocols.html"].attributes("id"))
    assert {f"pytest_servebench.protocols.{each.__name__}" for each in PROTOCOLS.values()} <= ids
    hooks = {name for name in vars(hookspecs) if name.startswith("pytest_servebench_")}
    ids = set(html[site / "reference" / "hooks.html"].attributes("id"))
    assert {f"pytest_servebench.plugin.hookspecs.{name}" for name in hooks} <= ids


def test_every_fixture_is_in_the_reference(site: Path) -> None:
    text = (site / "reference" / "api.html").read_text()
    names = [name for name, value in vars(fixtures).items() if "pytest_fixture" in repr(value)]
    assert "poisson_load" in names
    for name in names:
        assert re.search(rf'descname"><span class="pre">{name}<', text), name


def test_every_kind_of_object_in_the_schema_has_a_table(html: dict[Path, Html], site: Path) -> None:
    path = Path(inspect.getfile(pytest_servebench)).parent / "runs" / "run-1.schema.json"
    kinds = json.loads(path.read_text())["$defs"]
    ids = set(html[site / "reference" / "json.html"].attributes("id"))
    assert {f"json-{name}" for name in ("run", *kinds)} <= ids


def _first_cells(page: Path) -> set[str]:
    """Return what stands in the first column of the page's tables."""
    found = set()
    row: list[str] = []
    for token in tokens(page):
        if token.type == "tr_open":
            row = []
        elif token.type == "inline":
            row.append(token.content)
        elif token.type == "tr_close":
            found.add(row[0].strip("`"))
    return found


def test_outcomes_and_exit_codes() -> None:
    assert {one.label for one in Outcome} <= _first_cells(DOCS / "reference" / "outcomes.md")
    codes = {NOTHING_WORSE, WORSE, NOT_COMPARABLE, USAGE_ERROR, BROKEN_PIPE}
    assert {str(code) for code in codes} <= _first_cells(DOCS / "reference" / "exit-codes.md")


# -- links of the sources -------------------------------------------------------------------------


def _slugs(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    headings = [
        following.content
        for token, following in zip(tokens(page), tokens(page)[1:], strict=False)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links(page: Path) -> Iterator[str]:
    for token in inline(page, "link_open"):
        yield token.attrs["href"]
    for token in inline(page, "image"):
        yield token.attrs["src"]
        assert token.content, f"{page}: {token.attrs['src']} has no text"


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_of_the_sources(page: Path) -> None:
    """Read on GitHub, too, a link leads to a file and an anchor; no network is asked."""
    for link in _links(page):
        parts = urlsplit(unquote(link))
        if parts.scheme:
            assert parts.scheme == "https", link
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), link
            assert " " not in link
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in _slugs(target), link


def test_readme_keeps_its_two_commands() -> None:
    text = README.read_text()
    assert "`pip install 'tox>=4.22' && tox -e bench`" in text
    assert "`pip install 'tox>=4.22' && tox -e tests`" in text
    assert len(list(blocks(README, "console", "python"))) >= 4
