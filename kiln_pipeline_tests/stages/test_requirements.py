"""The requirements of tracked releases: read once each, from their core metadata, and a say in the order of building."""

import hashlib

from packaging.specifiers import SpecifierSet

from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage, Release
from kiln_pipeline.core.missing_wheels import in_order
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.requires_dist import Pins, pinned_releases
from kiln_pipeline.stages.detect import find_missing, refresh
from kiln_pipeline.stages.requirements import PINS, RequirementsReport, load_requirements, refresh_requirements
from kiln_pipeline.workspace import Silent
from kiln_pipeline_tests.fakes import MemoryStore, MemoryUpstream
from kiln_pipeline_tests.workspaces import NOW

METADATA = b"""\
Metadata-Version: 2.1
Name: tool
Version: 1.0
Requires-Dist: Foo==1.0 ; sys_platform == 'darwin'
Requires-Dist: bar>=2
Requires-Dist: baz==3.*
Requires-Dist: not a requirement
Requires-Dist: bar==2 ; extra == 'x'

Description
"""
SHA256 = hashlib.sha256(METADATA).hexdigest()
FOO, BAR, TOOL = Release.of("foo", "1.0"), Release.of("bar", "2"), Release.of("tool", "1.0")


def file(filename: str, version: str, **fields: str) -> DistributionFile:
    kind = FileKind.WHEEL if filename.endswith(".whl") else FileKind.SDIST
    return DistributionFile(filename=filename, url="", kind=kind, version=version, sha256="", size=0, **fields)  # type: ignore[arg-type]


def recipe(project: str, versions: str = ">=0") -> Recipe:
    return Recipe(
        project=project,
        reason="",
        versions=(SpecifierSet(versions),),
        pythons=(PythonTag.parse("cp312"),),
        platforms=(Platform.MACOSX_ARM64,),
    )


def upstream(**files: bytes) -> MemoryUpstream:
    tool = file("tool-1.0-py3-none-any.whl", "1.0", core_metadata=SHA256)
    older = file("tool-0.9-py3-none-any.whl", "0.9", core_metadata="true")
    foos = tuple(file(f"foo-{version}.tar.gz", version) for version in ("0.5", "1.0", "2.0"))
    pages = {
        "tool": ProjectPage(project="tool", files=(file("tool-1.0.tar.gz", "1.0"), tool, older)),
        "foo": ProjectPage(project="foo", files=foos),
    }
    return MemoryUpstream(pages, {"tool-1.0-py3-none-any.whl.metadata": METADATA, **files})


def test_pins_are_the_exact_requirements() -> None:
    """For any marker or extra; ranges and nonsense are none."""
    assert pinned_releases(METADATA) == (BAR, FOO)
    assert pinned_releases(b"") == ()


def test_each_release_is_read_once_and_ranks_what_it_pins() -> None:
    index, state, recipes = upstream(), MemoryStore(), [recipe("foo"), recipe("tool", "==1.0")]
    tracked = [recipe.project for recipe in recipes]
    files = refresh(tracked, upstream=index, state=state, now=NOW, progress=Silent()).table
    report = refresh_requirements(recipes, files, upstream=index, state=state, progress=Silent())
    assert report == RequirementsReport(known=1, fetched=1, broken=0, left=0)
    assert load_requirements(state) == {TOOL: Pins(source=SHA256, releases=(BAR, FOO))}

    puts, asked = len(state.puts), len(index.requests)
    again = refresh_requirements(recipes, files, upstream=index, state=state, progress=Silent())
    assert again == RequirementsReport(known=1, fetched=0, broken=0, left=0)
    assert (len(state.puts), len(index.requests)) == (puts, asked)

    rows = in_order(find_missing(recipes, (), state=state, now=NOW)).to_pylist()
    assert [(row["version"], row["rank_reason"]) for row in rows] == [
        ("2.0", "the newest release"),
        ("1.0", "pinned by tool==1.0 (requires-dist)"),
        ("0.5", "an older release"),
    ]


def test_what_cannot_be_read_stops_no_other_and_is_asked_for_again() -> None:
    index, state, recipes = upstream(), MemoryStore(), [recipe("tool")]
    files = refresh(["tool"], upstream=index, state=state, now=NOW, progress=Silent()).table
    report = refresh_requirements(recipes, files, upstream=index, state=state, progress=Silent())
    assert report == RequirementsReport(known=1, fetched=1, broken=1, left=0)
    index.files["tool-0.9-py3-none-any.whl.metadata"] = b"Metadata-Version: 2.1\n"
    report = refresh_requirements(recipes, files, upstream=index, state=state, progress=Silent())
    assert report == RequirementsReport(known=2, fetched=1, broken=0, left=0)


def test_a_call_reads_so_many_and_leaves_the_rest() -> None:
    index, state, recipes = upstream(), MemoryStore(), [recipe("tool")]
    files = refresh(["tool"], upstream=index, state=state, now=NOW, progress=Silent()).table
    report = refresh_requirements(recipes, files, upstream=index, state=state, progress=Silent(), at_once=1)
    assert report.left == 1


def test_a_release_that_is_not_wanted_any_more_is_forgotten() -> None:
    index, state = upstream(), MemoryStore()
    files = refresh(["tool"], upstream=index, state=state, now=NOW, progress=Silent()).table
    refresh_requirements([recipe("tool", "==1.0")], files, upstream=index, state=state, progress=Silent())
    refresh_requirements([], files, upstream=index, state=state, progress=Silent())
    assert load_requirements(state) == {}
    assert state.exists(PINS)
