"""A lock against captured upstream pages: what would compile on a target, and where its wheels would come from."""

import pytest

from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.lockfiles.model import LockFile
from kiln_pipeline.core.lockfiles.parse import parse_lock
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.errors import RecipeError, UpstreamError
from kiln_pipeline.stages.lock_check import LockReport, check
from kiln_pipeline.workspace import Silent
from kiln_pipeline_tests.captured import captured_page
from kiln_pipeline_tests.fakes import MemoryUpstream
from kiln_pipeline_tests.workspaces import DATA, NOW

MAC, LINUX = BuildIdentifier.parse("cp312-macosx_arm64"), BuildIdentifier.parse("cp310-manylinux_x86_64")


def lock() -> LockFile:
    return parse_lock((DATA / "locks" / "uv.lock").read_text(), file="uv.lock", read=str)


def upstream(**pages: ProjectPage | UpstreamError) -> MemoryUpstream:
    known: dict[str, ProjectPage | UpstreamError] = {
        name: captured_page(name) for name in ("click", "markupsafe", "pyyaml", "regex", "ujson", "wrapt")
    }
    return MemoryUpstream(known | pages)


def outlooks(report: LockReport) -> dict[str, str]:
    return {f"{line.release} {line.identifier}": line.outlook.value for line in report.lines}


def test_each_target_has_its_own_outlook() -> None:
    """One request per project, markers and coverage by target; paths are listed apart."""
    index = upstream()
    report = check(lock(), [MAC, LINUX, MAC], upstream=index, now=NOW, progress=Silent())
    assert outlooks(report) == {
        "click==8.1.7 cp312-macosx_arm64": "covered",
        "markupsafe==2.0.1 cp312-macosx_arm64": "fillable",
        "pyyaml==5.4.1 cp312-macosx_arm64": "fillable",
        "redis==5.0.1 cp312-macosx_arm64": "unfillable",
        "regex==2022.10.31 cp312-macosx_arm64": "fillable",
        "ujson==5.4.0 cp312-macosx_arm64": "fillable",
        "wrapt==1.14.1 cp312-macosx_arm64": "fillable",
        "async-timeout==5.0.1 cp310-manylinux_x86_64": "unfillable",
        "click==8.1.7 cp310-manylinux_x86_64": "covered",
        "markupsafe==2.0.1 cp310-manylinux_x86_64": "covered",
        "pyyaml==5.4.1 cp310-manylinux_x86_64": "fillable",
        "redis==5.0.1 cp310-manylinux_x86_64": "unfillable",
        "regex==2022.10.31 cp310-manylinux_x86_64": "covered",
        "ujson==5.4.0 cp310-manylinux_x86_64": "covered",
    }
    assert sorted(index.requests) == ["async-timeout", "click", "markupsafe", "pyyaml", "redis", "regex", "ujson", "wrapt"]
    assert [(package.project, package.source) for package in report.elsewhere] == [("local-part", "local")]
    assert not report.clean


def test_our_index_is_asked_for_what_is_lacking_only() -> None:
    newer = captured_page("markupsafe")
    mine = MemoryUpstream({"markupsafe": newer})
    report = check(lock(), [MAC], upstream=upstream(), ours=mine, now=NOW, progress=Silent())
    assert sorted(mine.requests) == ["markupsafe", "pyyaml", "redis", "regex", "ujson", "wrapt"]
    assert report.from_us == ()


def test_an_unpinned_requirement_is_never_clean() -> None:
    """Nobody knows what it brings."""
    loose = parse_lock("click\n", file="requirements.txt", read=str)
    report = check(loose, [MAC], upstream=upstream(), now=NOW, progress=Silent())
    assert (report.compiles, report.lock.unpinned, report.clean) == ((), ("click (requirements.txt, line 1)",), False)
    pinned = parse_lock("click==8.1.7\n", file="requirements.txt", read=str)
    assert check(pinned, [MAC], upstream=upstream(), now=NOW, progress=Silent()).clean


def test_a_target_that_the_lock_is_not_for_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"uv\.lock: is for Python >=3.10, which leaves cp39-macosx_arm64 out"):
        check(lock(), [BuildIdentifier.parse("cp39-macosx_arm64")], upstream=upstream(), now=NOW, progress=Silent())


def test_an_upstream_that_does_not_answer_is_no_half_an_answer() -> None:
    dead = upstream(wrapt=UpstreamError(subject="project wrapt", reason="upstream answered 500"))
    with pytest.raises(UpstreamError, match="500"):
        check(lock(), [MAC], upstream=dead, now=NOW, progress=Silent())
