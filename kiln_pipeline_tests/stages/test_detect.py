"""Refreshing and finding what is missing: what is written, what is kept, and what one broken project may do to others."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from packaging.specifiers import SpecifierSet

from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core import missing_wheels, release_metadata
from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.simple_index.parse import parse_project_page
from kiln_pipeline.errors import ProjectNotFound, StoreError, UpstreamError
from kiln_pipeline.ports import FetchedPage
from kiln_pipeline.stages.detect import (
    METADATA,
    MISSING,
    PROJECTS,
    Look,
    RefreshReport,
    find_missing,
    load_metadata,
    load_missing,
    load_projects,
    look_for_changes,
    refresh,
)
from kiln_pipeline.stages.site_status import HISTORY
from kiln_pipeline_tests.fakes import MemoryStore, MemoryUpstream
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream, captured_page

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
TRACKED = ("markupsafe", "pyyaml", "wrapt")


class Lines:
    """A `Progress` that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, text: str) -> None:
        self.lines.append(text)


def real_page(project: str) -> ProjectPage:
    return parse_project_page(json.dumps(captured_page(project)).encode(), project=project, base_url="https://index.example.org/")


def upstream(**answers: ProjectPage | UpstreamError) -> MemoryUpstream:
    return MemoryUpstream({project: real_page(project) for project in TRACKED} | answers)


def run(
    source: Any, state: MemoryStore, *, projects: tuple[str, ...] = TRACKED, now: datetime = NOW, **options: Any
) -> RefreshReport:
    return refresh(projects, upstream=source, state=state, now=now, progress=Lines(), **options)


def counts(report: RefreshReport) -> tuple[int, int, int, int]:
    return report.checked, report.changed, report.unchanged, len(report.broken)


def rows(state: MemoryStore) -> Mapping[str, release_metadata.ProjectState]:
    return release_metadata.project_states(load_projects(state))


def test_the_first_refresh_takes_everything_over() -> None:
    """Both tables are put once, files first, and say what the pages say."""
    state = MemoryStore()
    report = run(upstream(), state)
    assert (counts(report), report.skipped_files) == ((3, 3, 0, 0), 0)
    assert state.puts == [METADATA, PROJECTS]
    assert load_metadata(state).equals(report.table)
    assert load_projects(state).equals(report.projects)
    for project in TRACKED:
        page = release_metadata.project_page(report.table, report.projects, project)
        assert page == real_page(project)


def test_an_unchanged_refresh_writes_nothing() -> None:
    state, source = MemoryStore(), upstream()
    run(source, state)
    report = run(source, state, now=LATER)
    assert (counts(report), len(state.puts)) == ((3, 0, 3, 0), 2)


def test_a_changed_page_changes_its_own_rows_only() -> None:
    """A yank, a deletion and a new file are changes like any other; the result is what a first refresh would have written."""
    state, source = MemoryStore(), upstream()
    first = run(source, state)
    page = real_page("pyyaml")
    source.pages["pyyaml"] = replace(page, files=(replace(page.files[0], yanked=True, yanked_reason="bad"), *page.files[2:]))
    second = run(source, state, now=LATER)
    assert (counts(second), state.puts[2:]) == ((3, 1, 2, 0), [METADATA, PROJECTS])
    for project in ("markupsafe", "wrapt"):
        assert release_metadata.project_files(second.table, project) == release_metadata.project_files(first.table, project)
    fresh = MemoryStore()
    run(source, fresh)
    assert fresh.objects == state.objects


def test_one_broken_project_stops_no_other() -> None:
    """It keeps its rows, and says why and since when, until it answers again."""
    state, source = MemoryStore(), upstream()
    good = run(source, state)
    source.pages["pyyaml"] = UpstreamError(subject="project pyyaml", reason="upstream answered 500", hint="try again later")
    source.pages["wrapt"] = replace(real_page("wrapt"), status="archived")
    report = run(source, state, now=LATER)
    assert (counts(report), report.broken) == (
        (3, 1, 1, 1),
        (("pyyaml", "project pyyaml: upstream answered 500 (try again later)"),),
    )
    assert rows(state)["pyyaml"] == replace(
        release_metadata.project_states(good.projects)["pyyaml"],
        broken_since=LATER,
        broken_reason="project pyyaml: upstream answered 500 (try again later)",
    )
    puts = len(state.puts)
    run(source, state, now=LATER + timedelta(days=1))
    assert (rows(state)["pyyaml"].broken_since, len(state.puts)) == (LATER, puts)
    source.pages |= upstream().pages
    mended = run(source, state, now=LATER)
    assert (mended.table, mended.projects) == (good.table, good.projects)


def test_a_project_that_never_answered_is_broken_without_rows() -> None:
    state = MemoryStore()
    report = run(upstream(), state, projects=("no-such", "wrapt"))
    reason = "no-such: upstream has no such project (404)"
    assert (counts(report), report.broken) == ((2, 1, 0, 1), (("no-such", reason),))
    assert rows(state)["no-such"] == release_metadata.ProjectState(project="no-such", broken_since=NOW, broken_reason=reason)


def test_a_project_that_upstream_deleted_keeps_its_rows_for_a_day() -> None:
    """404 is also what a wrong endpoint says: the rows go when it has said so for a day, and answered for others."""
    state, source = MemoryStore(), upstream()
    run(source, state)
    before = state.objects[METADATA]
    source.pages["wrapt"] = ProjectNotFound(subject="project wrapt", reason="upstream has no such thing (404)")
    report = run(source, state, now=LATER)
    assert state.objects[METADATA] == before
    dropped = "its files are dropped when that has been so for a day"
    assert report.broken == (("wrapt", f"deleted upstream? project wrapt: upstream has no such thing (404); {dropped}"),)
    run(source, state, now=LATER + timedelta(hours=23))
    assert state.objects[METADATA] == before
    report = run(source, state, now=LATER + timedelta(hours=24))
    assert "wrapt" not in report.table.column("project").to_pylist()
    assert rows(state)["wrapt"].versions != ()
    assert [project for project, _ in report.broken] == ["wrapt"]
    source.pages["wrapt"] = upstream().pages["wrapt"]
    run(source, state, now=LATER + timedelta(hours=25))
    assert state.objects[METADATA] == before


def test_an_upstream_that_has_nothing_any_more_is_a_wrong_endpoint() -> None:
    """Nor does a day of other failures count as one of 404s."""
    state, source = MemoryStore(), upstream()
    run(source, state)
    before = state.objects[METADATA]
    pages = dict(source.pages)
    source.pages.clear()
    for days in (0, 2, 4):
        run(source, state, now=LATER + timedelta(days=days))
    assert state.objects[METADATA] == before
    source.pages |= pages
    run(source, state, now=LATER + timedelta(days=5))
    source.pages["wrapt"] = UpstreamError(subject="wrapt", reason="upstream answered 500")
    run(source, state, now=LATER + timedelta(days=6))
    source.pages["wrapt"] = ProjectNotFound(subject="project wrapt", reason="upstream has no such thing (404)")
    run(source, state, now=LATER + timedelta(days=8))
    assert state.objects[METADATA] == before


def test_a_project_without_a_recipe_is_removed_but_not_by_a_partial_refresh() -> None:
    state, source = MemoryStore(), upstream()
    run(source, state)
    run(source, state, projects=("wrapt",), only=("wrapt",))
    assert sorted(rows(state)) == sorted(TRACKED)
    report = run(source, state, projects=("wrapt",))
    assert (list(rows(state)), set(report.table.column("project").to_pylist())) == (["wrapt"], {"wrapt"})
    fresh = MemoryStore()
    run(source, fresh, projects=("wrapt",))
    assert fresh.objects == state.objects


def test_only_limits_to_tracked_projects() -> None:
    state, source = MemoryStore(), upstream()
    report = run(source, state, only={"wrapt", "untracked"})
    assert (counts(report), source.requests) == ((1, 1, 0, 0), ["wrapt"])


def test_without_the_table_of_files_validators_count_for_nothing() -> None:
    """A lost table comes back, although no page has changed."""
    state, source = MemoryStore(), upstream()
    run(source, state)
    whole = dict(state.objects)
    state.delete(METADATA)
    assert counts(run(source, state)) == (3, 3, 0, 0)
    assert state.objects == whole


def test_killed_between_the_two_puts_the_next_refresh_ends_in_the_same_bytes() -> None:
    source, state = upstream(), MemoryStore(fail_after=1)
    with pytest.raises(StoreError, match="no space left"):
        run(source, state)
    state.fail_after = None
    run(source, state, now=LATER)
    fresh = MemoryStore()
    run(source, fresh)
    assert state.objects == fresh.objects


def test_an_outage_is_noticed_and_the_rest_is_not_asked() -> None:
    """Ten thousand timeouts would take hours; they are one outage."""
    state = MemoryStore()
    names = tuple(f"p{number:04}" for number in range(500))
    down = UpstreamError(subject="upstream", reason="cannot be reached", retriable=True)
    source = MemoryUpstream(dict.fromkeys(names, down))
    report = run(source, state, projects=names)
    assert (counts(report), len(source.requests) < 200) == ((500, 0, 0, 500), True)
    assert report.broken[-1] == ("p0499", "project p0499: not asked, since upstream failed 48 times in a row (try again later)")


def test_five_hundred_lasting_errors_are_no_outage() -> None:
    """Broken pages are each a project's own matter: the last project is still asked."""
    names = tuple(f"p{number:04}" for number in range(500))
    bad = UpstreamError(subject="project", reason="no valid JSON")
    source = MemoryUpstream({**dict.fromkeys(names, bad), "wrapt": real_page("wrapt")})
    assert counts(run(source, MemoryStore(), projects=(*names, "wrapt"))) == (501, 1, 0, 500)


def test_skipped_files_are_counted() -> None:
    page = replace(real_page("wrapt"), skipped=(("../x", "its filename has characters that no distribution's name has"),))
    report = run(upstream(wrapt=page), MemoryStore())
    assert report.skipped_files == 1


def test_progress_says_what_happens() -> None:
    progress = Lines()
    source = upstream(wrapt=UpstreamError(subject="project wrapt", reason="upstream answered 500"))
    refresh(TRACKED, upstream=source, state=MemoryStore(), now=NOW, progress=progress)
    assert progress.lines == [
        "asking upstream for 3 projects",
        "broken: project wrapt: upstream answered 500",
        "2 changed, 0 unchanged, 1 broken",
    ]


def look(source: MemoryUpstream, state: MemoryStore, **more: Any) -> Look:
    return look_for_changes(TRACKED, upstream=source, state=state, **more)


def test_a_look_names_changed_projects_and_writes_nothing() -> None:
    state, source = MemoryStore(), upstream()
    assert look(source, state) == Look(changed=tuple(sorted(TRACKED)), asked=3)
    run(source, state)
    assert look(source, state) == Look(asked=3)
    source.pages["wrapt"] = replace(real_page("wrapt"), status="archived")
    source.pages["pyyaml"] = UpstreamError(subject="project pyyaml", reason="upstream answered 500")
    assert look(source, state).changed == ("wrapt",)
    assert len(state.puts) == 2


def test_a_look_that_runs_out_of_time_goes_on_where_it_was() -> None:
    """Three projects, one a look: each is asked for once in three looks, and the fourth begins anew."""
    state, source = MemoryStore(), upstream()
    run(source, state)
    last, seen = "", list[str]()
    for _ in range(4):
        found = look(source, state, after=last, keep_going=lambda: False)
        last = found.last
        seen.append(last)
    assert seen == ["markupsafe", "pyyaml", "", "markupsafe"]


def test_a_look_at_an_upstream_that_is_down_is_given_up() -> None:
    """And what it had found is not lost; one project that fails is no outage."""
    state, source = MemoryStore(), upstream()
    run(source, state)
    away = UpstreamError(subject="upstream", reason="files.example.org cannot be reached", retriable=True)
    source.pages["pyyaml"] = away
    assert look(source, state).outage == ""
    source.pages |= dict.fromkeys(TRACKED, away)
    assert look(source, state, after="markupsafe") == Look(asked=2, last="markupsafe", outage=str(away))


def test_a_look_waits_for_no_answer_that_does_not_come() -> None:
    state, gate = MemoryStore(), Event()

    class Hanging(MemoryUpstream):
        def project_page(self, project: str, *, validator: str = "") -> FetchedPage | None:
            gate.wait(30)
            return super().project_page(project, validator=validator)

    try:
        hanging = Hanging(upstream().pages)
        found = look_for_changes(
            [*TRACKED, *(f"project-{number}" for number in range(36))], upstream=hanging, state=state, patience=0.05
        )
    finally:
        gate.set()
    assert "did not answer within 0.05 s" in found.outage
    assert (found.asked, found.last) == (1, "")


def test_tables_are_empty_before_the_first_run() -> None:
    state = MemoryStore()
    assert load_metadata(state).equals(release_metadata.empty())
    assert load_projects(state).equals(release_metadata.empty_projects())
    assert load_missing(state).equals(missing_wheels.empty())


@pytest.mark.parametrize("data", [b"", b"no parquet", b"PAR1" * 10])
def test_a_table_that_is_none_is_a_store_error(data: bytes) -> None:
    state = MemoryStore()
    state.put(METADATA, data)
    with pytest.raises(StoreError, match=r"release_metadata.parquet: it is no table that this kiln wrote: .*delete it"):
        load_metadata(state)


def test_a_table_of_another_version_is_a_store_error() -> None:
    state = MemoryStore()
    run(upstream(), state)
    state.objects[PROJECTS] = state.objects[METADATA]
    with pytest.raises(StoreError, match="it has other columns"):
        load_projects(state)


def recipe(project: str) -> Recipe:
    return Recipe(
        project=project,
        reason="a test",
        versions=(SpecifierSet(""),),
        pythons=(PythonTag.parse("cp311"),),
        platforms=(Platform.MACOSX_ARM64,),
    )


def verdicts(table: pa.Table) -> dict[str, str]:
    return {f"{row['project']}=={row['version']}": row["verdict"] for row in table.to_pylist()}


def test_what_is_missing_is_found_and_written_once() -> None:
    """PyYAML 5.4.1 has no wheel for Python 3.11, 6.0.1 has: the same finding is not written again."""
    state = MemoryStore()
    run(upstream(), state)
    table = find_missing([recipe("pyyaml")], (), state=state, now=NOW)
    assert verdicts(table).items() >= {"pyyaml==5.4.1": "missing", "pyyaml==6.0.1": "covered"}.items()
    assert load_missing(state).equals(table)
    assert find_missing([recipe("pyyaml")], (), state=state, now=NOW).equals(table)
    assert state.puts == [METADATA, PROJECTS, MISSING, HISTORY]  # the counts of it
    find_missing([recipe("wrapt")], (), state=state, now=NOW)
    assert state.puts == [METADATA, PROJECTS, MISSING, HISTORY, MISSING, HISTORY]


def test_without_recipes_nothing_is_missing() -> None:
    state = MemoryStore()
    run(upstream(), state, projects=())
    assert find_missing([], (), state=state, now=NOW).equals(missing_wheels.empty())


def test_over_real_sockets_with_faults() -> None:
    """The stage with the real adapter: a truncated page, an unknown project, and the others as they are."""
    pages = {project: captured_page(project) for project in TRACKED}
    state = MemoryStore()
    with LoopbackUpstream(pages, etags=True) as server:
        source = SimpleApiUpstream(server.url, retries=0)
        server.fault("wrapt", "truncated")
        report = run(source, state, projects=(*TRACKED, "no-such"))
        assert counts(report) == (4, 2, 0, 2)
        assert [project for project, _ in report.broken] == ["no-such", "wrapt"]
        server.mend("wrapt")
        assert counts(run(source, state, projects=TRACKED)) == (3, 1, 2, 0)
        puts = len(state.puts)
        assert counts(run(source, state, projects=TRACKED)) == (3, 0, 3, 0)
        assert len(state.puts) == puts
