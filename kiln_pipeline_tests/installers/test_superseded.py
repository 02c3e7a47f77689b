"""How a page may show a wheel of ours that upstream has caught up with: what each form does in the real installers.

Wanted are two things at once, that new locks take upstream's wheel and old ones still install ours. No form gives both in all.
This is the measurement behind README's decision, on `kiln serve` alone since the page decides and not the server.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from kiln_pipeline.core.simple_index.model import SUPERSEDED
from kiln_pipeline_tests.edges import free_port, run_edge
from kiln_pipeline_tests.installers.conftest import Runs
from kiln_pipeline_tests.installers.programs import PROGRAMS, Addresses, Outcome, Program, Wish
from kiln_pipeline_tests.installers.scenarios import LATER_WHEEL, OLD_LOCK
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream
from kiln_pipeline_tests.s3_server import S3Server

WISH = Wish(requirements=("latecomer",))
README = Path(__file__).parents[2] / "README.md"


@dataclass(frozen=True, kw_only=True)
class Form:
    """A row of README's table."""

    title: str
    edit: Callable[[list[Any], list[Any]], list[Any]]
    """From our rows of the page and upstream's to all of them."""
    upstream_in_new: tuple[str, ...]
    """Installers whose new locks install upstream's wheel."""
    ours_in_old: tuple[str, ...]
    """Installers whose old locks still install ours."""


ALL = tuple(PROGRAMS)
FORMS = (
    Form(
        title="yanked, as kiln does it",
        edit=lambda ours, theirs: [*ours, *theirs],
        upstream_in_new=tuple(name for name in ALL if name not in LATER_WHEEL.cannot),
        ours_in_old=tuple(name for name in ALL if name not in OLD_LOCK.cannot),
    ),
    Form(
        title="not yanked, after upstream's files",
        edit=lambda ours, theirs: [*theirs, *({key: value for key, value in row.items() if key != "yanked"} for row in ours)],
        upstream_in_new=("PDM",),
        ours_in_old=ALL,
    ),
    Form(title="not listed", edit=lambda ours, theirs: theirs, upstream_in_new=ALL, ours_in_old=("uv",)),
)


def render_table() -> str:
    """Return the table in Markdown, as README has it."""
    rows = [(form.title, _names(form.upstream_in_new), _names(form.ours_in_old)) for form in FORMS]
    head = "| ours on the page | a new lock installs upstream's in | an old lock still installs ours in |\n|---|---|---|\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _names(programs: tuple[str, ...]) -> str:
    return "all four" if programs == ALL else ", ".join(programs)


def test_readme_has_the_table() -> None:
    assert indent(render_table(), "  ") in README.read_text()


@pytest.fixture(scope="module")
def outcomes(
    upstream: LoopbackUpstream,
    sites: tuple[Path, Path],
    programs: Mapping[str, Program],
    runs: Runs,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Form], Mapping[str, tuple[Outcome, Outcome]]]:
    """Returns what a form does: for each installer a new lock installed, and an old one."""
    before, now = sites
    port = free_port()
    with run_edge("kiln serve", before, s3_server, tmp_path_factory.mktemp("server") / "s", port=port) as url:
        at = Addresses(site=url, upstream=f"{upstream.origin}/", vendor=before)
        locking = {name: runs.begin_lock(program, WISH, at) for name, program in programs.items()}
        locks = {name: lock.result() for name, lock in locking.items()}

    def of(form: Form) -> Mapping[str, tuple[Outcome, Outcome]]:
        site = tmp_path_factory.mktemp("form") / "site"
        shutil.copytree(now, site)
        page = site / "simple" / "latecomer" / "index.json"
        value = json.loads(page.read_text())
        ours = [row for row in value["files"] if "_attestation" in row]
        assert [row["yanked"] for row in ours] == [SUPERSEDED]
        value["files"] = form.edit(ours, [row for row in value["files"] if row not in ours])
        page.write_text(json.dumps(value))
        with run_edge("kiln serve", site, s3_server, site.parent / "s", port=port):
            new = {name: runs.begin_new(program, WISH, at) for name, program in programs.items()}
            old = {name: runs.begin_old(program, WISH, at, locks[name].lock) for name, program in programs.items()}
            return {name: (new[name].result(), old[name].result()) for name in programs}

    return of


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS[1:], ids=lambda form: form.title)
def test_another_form_of_the_page(form: Form, outcomes: Callable[[Form], Mapping[str, tuple[Outcome, Outcome]]]) -> None:
    """What kiln's own form does, `test_installers` holds."""
    done = outcomes(form)
    new = {name: (fresh.ok, fresh.installed.get("latecomer")) for name, (fresh, _) in done.items()}
    assert new == {name: (True, "1.0" if name in form.upstream_in_new else "1.0-1") for name in ALL}
    old = {name: kept.installed.get("latecomer") if kept.ok else None for name, (_, kept) in done.items()}
    assert old == {name: "1.0-1" if name in form.ours_in_old else None for name in ALL}
