"""From templates to one file that loads nothing: CSS and scripts inline, the network forbidden."""

import base64
import hashlib
import re
from functools import lru_cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_PACKAGE: Final = "pytest_servebench.report.page"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tight"] = _tight
    environment.globals["part"] = _part
    environment.globals["digest"] = _digest
    return environment


def render(template: str, **values: Any) -> str:
    """Return a page; everything in ``values`` that is not markup is escaped."""
    return _environment().get_template(template).render(**values)


def _tight(text: str) -> str:
    """Return ``text`` with its numbers kept in one line with their names and units."""
    text = re.sub(r"(?<=\bp\d\d) (?=\d)", "\u00a0", text)
    return re.sub(r"(?<=\d) (?=(?:%|[mµ]?s|[MG]B)(?!\w))", "\u00a0", text)


def _part(name: str) -> Markup:
    """Return one of the package's own files as it is, to be put into a style or script element."""
    environment = _environment()
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _digest(content: str) -> str:
    """Return the source expression under which a policy allows an inline element."""
    digest = hashlib.sha256(str(content).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
