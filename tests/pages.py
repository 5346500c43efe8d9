"""Pages of made runs, and what can be read from their HTML."""

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pytest_servebench.report.page import write_page
from pytest_servebench.runs.plain_benchmarks import plain_case
from pytest_servebench.runs.results import Run
from simulation import saved

VOID = {"meta", "link", "br", "input", "img"}


class Html(HTMLParser):
    """What a browser would make of a page, as far as tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()
        self.unbalanced += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [known[name] for _, known in self.tags if name in known]

    def named(self, tag: str) -> list[dict[str, str]]:
        return [known for one, known in self.tags if one == tag]


def check(text: str) -> Html:
    """Return a page's contents; it must be well-formed, load nothing and keep its promises."""
    html = Html(text)
    assert not html.unbalanced
    ids = Counter(html.attributes("id"))
    assert not [name for name, number in ids.items() if number > 1]
    references = [
        word
        for name in ("aria-labelledby", "aria-describedby")
        for value in html.attributes(name)
        for word in value.split()
    ]
    references += [one[1:] for one in html.attributes("href") if one.startswith("#")]
    assert not set(references) - set(ids)
    assert not html.attributes("src")
    assert not html.attributes("style")
    assert not [one for one in html.attributes("href") if not one.startswith(("#", "data:,"))]
    assert not [name for _, known in html.tags for name in known if name.startswith("on")]
    for banned in ("@import", "url(", "fetch(", "XMLHttpRequest", "import("):
        assert banned not in text
    policy = next(one for one in html.named("meta") if one.get("http-equiv"))["content"]
    assert policy.startswith("default-src 'none'")
    assert len(html.named("script")) == 2
    assert len(html.named("h1")) == 1
    for one in html.named("svg"):
        assert one.get("role") == "img" or one.get("aria-hidden") == "true"
    assert all(one.get("scope") for one in html.named("th"))
    assert len(html.named("caption")) == len(html.named("table"))
    return html


def page_text(run: Run, directory: Path) -> str:
    """Return the page of a run, whose records are in memory or in the directory."""
    return write_page(run, directory, run.to_dict()).read_text()


def plain_entry(name: str = "test_sort") -> dict[str, Any]:
    """Return what pytest-benchmark saves of a benchmark with its data."""
    data = [1e-3 + 1e-5 * (number % 7) for number in range(200)]
    return {"name": name, "fullname": f"b.py::{name}", "stats": {"rounds": 200, "data": data}}


def plain_run() -> Run:
    names = ("test_sort", "test_fill[1]", "test_fill[2]")
    return saved.run([plain_case(plain_entry(name), "x") for name in names])
