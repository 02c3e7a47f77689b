"""README's snippets are the site's own and the suite's, and its table is what the suite holds."""

from pathlib import Path

import pytest

import kiln_pipeline
from kiln_pipeline_tests.installers.programs import EXAMPLE, TEMPLATES
from kiln_pipeline_tests.installers.scenarios import render_table

README = (Path(__file__).parents[2] / "README.md").read_text()
FILES = sorted((Path(kiln_pipeline.__file__).parent / "templates" / "site").glob("snippet-*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_readme_has_the_snippet_that_is_run(file: Path) -> None:
    name = file.stem.removeprefix("snippet-")
    lines = TEMPLATES.snippet(name, "http://127.0.0.1:8765/simple/", *EXAMPLE)
    assert f"\n{lines}\n" in README


def test_the_site_shows_the_same_snippets() -> None:
    shown = dict(TEMPLATES.snippets("https://index.example.org/simple/"))
    files = {"pip": "pip-extra", "uv": "uv", "Poetry": "poetry", "PDM": "pdm"}
    assert shown == {
        program: TEMPLATES.snippet(name, "https://index.example.org/simple/", "PROJECT", "VERSION")
        for program, name in files.items()
    }


def test_readme_has_the_table() -> None:
    assert render_table() in README
