"""The two tables of what upstream has: one project's change is one project's rows."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage
from kiln_pipeline.core.release_metadata import ProjectState


def sdist(project: str, version: str, **fields: object) -> DistributionFile:
    filename = f"{project}-{version}.tar.gz"
    values: dict[str, object] = {
        "filename": filename,
        "url": f"https://files.example.org/{filename}",
        "kind": FileKind.SDIST,
        "version": version,
        "sha256": "ab" * 32,
        "size": 1000,
        "requires_python": ">=3.8",
        "upload_time": datetime(2024, 5, 17, 12, 30, 15, 123456, tzinfo=UTC),
        "core_metadata": "true",
        "provenance": "https://files.example.org/provenance",
    }
    return DistributionFile(**(values | fields))  # type: ignore[arg-type]


def page(project: str, *versions: str, **fields: object) -> ProjectPage:
    return ProjectPage(project=project, files=tuple(sdist(project, v) for v in versions), versions=versions, **fields)  # type: ignore[arg-type]


def tables(*pages: ProjectPage) -> tuple[pa.Table, pa.Table]:
    files = release_metadata.replace_projects(release_metadata.empty(), {page.project: page for page in pages})
    states = {page.project: ProjectState.of(page) for page in pages}
    return files, release_metadata.replace_states(release_metadata.empty_projects(), states)


def test_a_page_comes_back_as_it_went_in():
    pages = (
        page("foo", "2.0", "1.0", status="archived", status_reason="moved", serial="17"),
        ProjectPage(project="bar", files=(sdist("bar", "1", upload_time=None, yanked=True, yanked_reason="broken"),)),
    )
    files, projects = tables(*pages)
    assert tuple(release_metadata.project_page(files, projects, page.project) for page in pages) == pages


def test_the_table_is_sorted_by_project_and_then_as_on_the_page():
    files, _ = tables(page("foo", "2.0", "1.0"), page("bar", "3.0"))
    rows = files.select(["project", "position", "version"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("bar", 0, "3.0"), ("foo", 0, "2.0"), ("foo", 1, "1.0")]


def test_a_changed_page_changes_only_its_own_rows():
    files, _ = tables(page("a", "1"), page("b", "1", "2"), page("c", "1"))
    changed = release_metadata.replace_projects(files, {"b": page("b", "2", "3")})
    expected, _ = tables(page("a", "1"), page("b", "2", "3"), page("c", "1"))
    assert changed.equals(expected)


def test_a_removed_project_leaves_no_row():
    files, projects = tables(page("a", "1"), page("b", "1"))
    expected_files, expected_projects = tables(page("a", "1"))
    assert release_metadata.replace_projects(files, {"b": None}).equals(expected_files)
    assert release_metadata.replace_states(projects, {"b": None}).equals(expected_projects)


def test_nothing_new_gives_back_the_same_object():
    """The stage writes nothing when it gets the same table back."""
    files, projects = tables(page("a", "1"), page("b", "1", "2"))
    assert release_metadata.replace_projects(files, {"b": page("b", "1", "2"), "z": None}) is files
    assert release_metadata.replace_states(projects, {"a": ProjectState.of(page("a", "1"))}) is projects


def test_a_yank_or_another_order_is_a_change():
    files, _ = tables(page("a", "1", "2"))
    first, second = page("a", "1", "2").files
    yanked = ProjectPage(project="a", files=(replace(first, yanked=True), second))
    swapped = ProjectPage(project="a", files=(second, first))
    assert release_metadata.project_files(release_metadata.replace_projects(files, {"a": yanked}), "a") == yanked.files
    assert release_metadata.project_files(release_metadata.replace_projects(files, {"a": swapped}), "a") == swapped.files


def test_a_project_without_files_is_not_lost():
    files, projects = tables(page("empty"), page("foo", "1"))
    assert release_metadata.project_page(files, projects, "empty") == page("empty")
    assert release_metadata.project_page(files, projects, "emptyish") is None
    assert release_metadata.project_files(files, "fo") == ()


def test_skipped_files_are_counted_and_the_first_ones_named():
    skipped = tuple((f"bad{number}", "is no file") for number in range(30))
    state = ProjectState.of(page("foo", "1", skipped=skipped), validator="tag")
    _, projects = release_metadata.empty(), release_metadata.replace_states(release_metadata.empty_projects(), {"foo": state})
    assert release_metadata.project_states(projects) == {"foo": state}
    assert (state.skipped_count, len(state.skipped), state.skipped[0]) == (30, 20, "bad0: is no file")


def test_a_broken_project_says_since_when():
    since = datetime(2026, 1, 2, tzinfo=UTC)
    state = ProjectState(project="foo", broken_since=since, broken_reason="upstream answered 500")
    projects = release_metadata.replace_states(release_metadata.empty_projects(), {"foo": state})
    assert release_metadata.project_states(projects)["foo"].broken_since == since


def test_the_digest_of_files_tells_every_field_and_the_order_apart():
    """It does not depend on the time zone that an upload time is told in."""
    one, other = sdist("foo", "1.0"), sdist("foo", "2.0")
    changes: list[dict[str, object]] = [
        {"filename": "foo-1.0.zip"}, {"url": "https://files.example.org/x"}, {"kind": FileKind.OTHER}, {"version": "1"},
        {"sha256": ""}, {"size": 1}, {"requires_python": ""}, {"upload_time": None}, {"yanked": True}, {"yanked_reason": "x"},
        {"core_metadata": ""}, {"provenance": ""},
    ]  # fmt: skip
    assert {field.name for field in fields(DistributionFile)} == {name for change in changes for name in change}
    lists = [[], [one], [one, other], [other, one], *([replace(one, **change)] for change in changes)]  # type: ignore[arg-type]
    assert len({release_metadata.files_digest(files) for files in lists}) == len(lists)
    assert one.upload_time is not None
    moved = replace(one, upload_time=one.upload_time.astimezone(timezone(timedelta(hours=5))))
    assert release_metadata.files_digest([moved]) == release_metadata.files_digest([one])
    assert release_metadata.files_digest([]) == release_metadata.NO_FILES
