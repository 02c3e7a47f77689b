"""The templates of the pages for people, in jinja2: the only file that knows it. What is on a page is `core.package_pages`."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from kiln_pipeline.core.package_pages.parts import shortened
from kiln_pipeline.core.plots import duration
from kiln_pipeline.core.retries import minute

_FOLDER = "templates/site"
_SNIPPETS = {"pip": "pip-extra", "uv": "uv", "Poetry": "poetry", "PDM": "pdm"}
"""Which of the ``snippet-*.txt`` the site's first page shows."""


class JinjaTemplates:
    """The templates that come with kiln. Every value is escaped in HTML and XML; an unknown name is an error, not a gap."""

    def __init__(self) -> None:
        folder = files("kiln_pipeline").joinpath(*_FOLDER.split("/"))
        texts = sorted((item.name, item.read_bytes()) for item in folder.iterdir() if item.is_file())
        self.fingerprint = hashlib.sha256(b"\0".join(part for name, text in texts for part in (name.encode(), text))).hexdigest()
        self._environment = Environment(
            loader=PackageLoader("kiln_pipeline", _FOLDER),
            autoescape=select_autoescape(("html", "atom"), default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.filters.update(
            url=_url,
            day=_day,
            moment=_moment,
            minute=minute,
            clock=_clock,
            cell=_cell,
            short=shortened,
            duration=duration,
            size=_size,
            percent=_percent,
        )

    def render(self, name: str, values: Mapping[str, object]) -> bytes:
        """Return the page that the template `name` makes of `values`: the same bytes for the same values."""
        return self._environment.get_template(name).render(values).encode("utf-8", "replace")

    def text(self, name: str) -> bytes:
        """Return a file that is no template, as it is."""
        return files("kiln_pipeline").joinpath(*_FOLDER.split("/"), name).read_bytes()

    def snippets(self, index_url: str) -> tuple[tuple[str, str], ...]:
        """Return what an end user copies, by installer: for any project and version."""
        return tuple((name, self.snippet(file, index_url, "PROJECT", "VERSION")) for name, file in _SNIPPETS.items())

    def snippet(self, name: str, index_url: str, project: str, version: str) -> str:
        """Return one of the ``snippet-*.txt``, which README shows and the installers' tests run."""
        return (
            self.render(f"snippet-{name}.txt", {"index_url": index_url, "project": project, "version": version}).decode().rstrip()
        )


def _url(key: str) -> str:
    """Return a key of the site as a relative reference: what RFC 3986 wants escaped is escaped, ``+`` too."""
    return quote(key, safe="/")


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _moment(moment: datetime) -> str:
    """Return RFC 3339 in UTC, to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M}"


def _size(count: int) -> str:
    """Return a size in bytes for people: ``1.2 MB``."""
    number, unit = (count / 1000, "kB") if count < 1_000_000 else (count / 1_000_000, "MB")
    return f"{number:.1f} {unit}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _cell(text: str) -> str:
    """Return a text as one cell of a Markdown table: what would end the cell, or begin a link or HTML, is escaped."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\|[]<>*_`" else letter for letter in flat)
