"""`kiln …` against a loopback upstream that serves captured pages."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kiln_pipeline.cli import main
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream
from kiln_pipeline_tests.workspaces import DATA, RECIPES


@pytest.fixture
def upstream() -> Iterator[LoopbackUpstream]:
    pages = {name: json.loads((DATA / "pages" / f"{name}.json").read_bytes()) for name in ("markupsafe", "pyyaml", "wrapt")}
    with LoopbackUpstream(pages, {}) as server:
        yield server


@pytest.fixture
def kiln(upstream: LoopbackUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `kiln …` in an empty folder, against the loopback upstream and the repository's recipes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KILN_UPSTREAM", upstream.url)
    monkeypatch.setenv("KILN_RECIPES", str(RECIPES))
    monkeypatch.setenv("KILN_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return run
