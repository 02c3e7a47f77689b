"""README's snippets are the suite's own files, and its table is what the suite holds."""

from pathlib import Path

import pytest

from kiln_pipeline_tests.installers.programs import README_URL, SUITE
from kiln_pipeline_tests.installers.scenarios import render_table

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("snippet", sorted((SUITE / "snippets").iterdir()), ids=lambda path: path.name)
def test_readme_has_the_snippet_that_was_run(snippet: Path) -> None:
    text = snippet.read_text()
    assert text.rstrip("\n") in README
    assert README_URL in text or "markers" in snippet.name


def test_readme_has_the_table() -> None:
    assert render_table() in README
