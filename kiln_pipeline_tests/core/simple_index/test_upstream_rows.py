"""Columns against values: both renderers give the same bytes, for real projects and for whatever hypothesis thinks of."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiln_pipeline.core.distributions import DistributionFile, ProjectPage
from kiln_pipeline.core.release_metadata import empty, project_files, replace_projects
from kiln_pipeline.core.simple_index import render
from kiln_pipeline.core.simple_index.model import IndexPage, overlay
from kiln_pipeline.core.simple_index.upstream_rows import UpstreamRows
from kiln_pipeline_tests.captured import captured, captured_page
from kiln_pipeline_tests.core.simple_index.pages import attempt, upstream_file

OURS = "foo-1.0-1-cp311-cp311-manylinux_2_17_x86_64.whl"


def rows_of(files: Mapping[str, tuple[DistributionFile, ...]]) -> UpstreamRows:
    return UpstreamRows(replace_projects(empty(), {name: ProjectPage(project=name, files=own) for name, own in files.items()}))


def check_same(rows: UpstreamRows, page: IndexPage) -> None:
    own = replace(page, files=tuple(file for file in page.files if file.attestation))
    assert render.project_json(own, rows.json(page.project)) == render.project_json(page)
    assert render.project_html(own, rows.html(page.project)) == render.project_html(page)


def test_real_projects_are_rendered_alike() -> None:
    """Some projects with thousands of files, in one table; none of them needs to be rendered file by file."""
    projects = sorted(set(captured().column("project").to_pylist()))[::10]
    files = {project: captured_page(project).files for project in projects}
    table = replace_projects(empty(), {name: ProjectPage(project=name, files=own) for name, own in files.items()})
    rows = UpstreamRows(table)
    for project in projects:
        assert project in rows
        check_same(rows, overlay(project, upstream=project_files(table, project)))
        assert rows.versions(project) == [file.version for file in files[project]]


def test_ours_stand_before_theirs_with_a_comma_between() -> None:
    files = (upstream_file("foo-1.0.tar.gz"), upstream_file("foo-0.9.tar.gz", yanked=True))
    for upstream in ((), files):
        for attempts in ((), (attempt(OURS),)):
            check_same(rows_of({"foo": upstream}), overlay("foo", upstream=upstream, attempts=attempts))


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": ""},
        {"upload_time": None},
        {"upload_time": datetime(1999, 1, 1, tzinfo=UTC)},
        {"upload_time": datetime(2022, 12, 1, 1, 2, 3, 500_000, tzinfo=UTC)},
        {"core_metadata": "true"},
        {"core_metadata": "d" * 64, "requires_python": ">=3.6, <4, !=3.7.*"},
        {"yanked": True, "yanked_reason": 'a "b" <c> & \\d\né\0'},
        {"yanked_reason": "not yanked at all"},
        {"requires_python": "><&\"'\0\n\\ü"},
        {"provenance": "https://files.example.org/x/provenance"},
        {"size": 0},
    ],
)
def test_every_field_is_rendered_alike(changes: dict[str, object]) -> None:
    file = upstream_file("foo-1.0.tar.gz", **changes)
    rows = rows_of({"foo": (file, upstream_file("foo-2.0.tar.gz"))})
    assert "foo" in rows
    check_same(rows, overlay("foo", upstream=(file, upstream_file("foo-2.0.tar.gz"))))


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://files.example.org/foo-1.0.tar.gz#sha256=x"},
        {"url": "javascript:alert(1)"},
        {"url": 'https://files.example.org/"onclick="x'},
        {"filename": "foo-1.0<b>.tar.gz"},
        {"filename": "foo-1.0é.tar.gz"},
        {"filename": "foo-1.0\\.tar.gz"},
        {"filename": "foo-2.0.tar.gz"},
        {"provenance": "data:,"},
        {"core_metadata": '"'},
        {"sha256": "'"},
    ],
)
def test_a_doubtful_project_is_left_to_the_other_renderer(changes: dict[str, object]) -> None:
    """A text that has to be escaped or refused, or a filename listed twice; other projects of the table are not touched by it."""
    doubtful = (replace(upstream_file("foo-1.0.tar.gz"), **changes), upstream_file("foo-2.0.tar.gz"))
    rows = rows_of({"bar": (upstream_file("bar-1.0.tar.gz"),), "foo": doubtful})
    assert "foo" not in rows
    assert "bar" in rows


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda number, **changes: upstream_file(f"foo-{number}.tar.gz", **changes),
            st.integers(0, 30),
            requires_python=TEXT,
            yanked=st.booleans(),
            yanked_reason=TEXT,
            size=st.integers(0, 2**40),
            upload_time=st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
            core_metadata=st.sampled_from(["", "true", "c" * 64]),
            provenance=st.sampled_from(["", "https://files.example.org/p", "ftp://files.example.org/p"]),
        ),
        max_size=6,
    )
)
def test_any_files_are_rendered_alike_or_left_alone(files: list[DistributionFile]) -> None:
    rows = rows_of({"foo": tuple(files)})
    if "foo" in rows:
        check_same(rows, overlay("foo", upstream=files))
    else:
        assert len({file.filename for file in files}) < len(files) or any(file.provenance.startswith("ftp") for file in files)
