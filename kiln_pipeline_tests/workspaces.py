"""Whole workspaces for tests: memory stores, captured upstream pages, real sdists, a scripted builder, a fixed clock."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.core.simple_index.parse import parse_project_page
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.fakes import MemoryStore, MemoryUpstream, ScriptedBuilder

DATA = Path(__file__).parent / "data"
RECIPES = Path(__file__).parent.parent / "recipes"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Clock:
    """Begins at `NOW` and goes on by one second at each look."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def captured_upstream(*projects: str) -> MemoryUpstream:
    """Return an upstream with the captured pages of `projects` and the sdists that lie beside them."""
    pages = {
        project: parse_project_page(
            (DATA / "pages" / f"{project}.json").read_bytes(), project=project, base_url="https://files.example.org/simple/"
        )
        for project in projects
    }
    files = {path.name: path.read_bytes() for path in (DATA / "sdists").iterdir()}
    return MemoryUpstream(pages, files)


def memory_workspace(
    home: Path,
    *,
    failures: Mapping[str, Failure] | None = None,
    recipes: Path = RECIPES,
    projects: tuple[str, ...] = ("markupsafe", "pyyaml"),
) -> Workspace:
    """Return a workspace that does everything in memory but keys, which lie under `home`."""
    return replace(
        Workspace.from_environment(home, {"KILN_HOME": str(home), "KILN_RECIPES": str(recipes), "KILN_HOST": "testhost"}),
        site=MemoryStore(),
        inbox=MemoryStore(),
        state=MemoryStore(),
        upstream=captured_upstream(*projects),
        builders=(ScriptedBuilder(failures),),
        clock=Clock(),
    )


def site_digest(store: MemoryStore) -> str:
    """Return one hash over every key and byte of a store."""
    digest = hashlib.sha256()
    for key in store.keys():
        digest.update(key.encode() + b"\0" + hashlib.sha256(store.get(key)).digest())
    return digest.hexdigest()
