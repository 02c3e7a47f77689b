"""What an index needs beside a project: markers, extras, cycles, gaps and the bound, over an upstream in memory."""

import hashlib

import pytest
from packaging.specifiers import SpecifierSet

from kiln_pipeline.adapters.recipe_folder import load_recipes, mirror_recipe
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage
from kiln_pipeline.core.mirror.closure import Closure, Needed
from kiln_pipeline.core.mirror.settings import MirrorMode
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.errors import ProjectNotFound
from kiln_pipeline.stages.closure import closure
from kiln_pipeline.workspace import Silent
from kiln_pipeline_tests.fakes import MemoryUpstream

LINUX, MAC = BuildIdentifier.parse("cp312-manylinux_x86_64"), BuildIdentifier.parse("cp312-macosx_arm64")
INDEX = {
    "app-2.0": ["Web>=2,<3", "colours ; sys_platform == 'darwin'", "old ; python_version < '3'", "fast ; extra == 'speed'"],
    "app-1.0": ["legacy==1.0"],
    "web-3.0": ["trio ; extra == 'async'"],
    "web-2.1": ["app", "sdist-only"],
    "web-2.2rc1": ["unwanted"],
    "colours-1.0": ["web[async]"],
    "fast-1.0": [],
    "legacy-1.0": [],
    "trio-1.0": [],
}


def upstream() -> MemoryUpstream:
    pages: dict[str, list[DistributionFile]] = {}
    files: dict[str, bytes] = {}
    for release, requires in INDEX.items():
        project, version = release.split("-")
        name = f"{release}-py3-none-any.whl"
        text = "".join(f"Requires-Dist: {line}\n" for line in requires)
        files[f"{name}.metadata"] = data = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{text}".encode()
        pages.setdefault(project, []).append(
            DistributionFile(
                filename=name,
                url="https://files.example.org/x",
                kind=FileKind.WHEEL,
                version=version,
                sha256=hashlib.sha256(name.encode()).hexdigest(),
                size=1,
                core_metadata=hashlib.sha256(data).hexdigest(),
            )
        )
    sdist = DistributionFile(
        filename="sdist-only-1.0.tar.gz", url="", kind=FileKind.SDIST, version="1.0", sha256="5" * 64, size=1
    )
    pages["sdist-only"] = [sdist]
    return MemoryUpstream({name: ProjectPage(project=name, files=tuple(rows)) for name, rows in pages.items()}, files)


def found(*targets: BuildIdentifier, extras: tuple[str, ...] = (), versions: str = "", **options: int) -> Closure:
    union = (SpecifierSet(versions),) if versions else ()
    return closure("app", versions=union, extras=extras, targets=targets, upstream=upstream(), progress=Silent(), **options)


def names(answer: Closure) -> list[str]:
    return [needed.project for needed in answer.needed]


def test_requirements_are_followed_as_the_target_has_them() -> None:
    """No extra that nobody asks for, no marker of another system, no pre-release, and cycles end."""
    answer = found(LINUX)
    assert names(answer) == ["app", "sdist-only", "web"]
    assert answer.needed[2] == Needed(project="web", specifiers=("<3,>=2",), releases=("2.1",), by=("app==2.0",))
    assert answer.needed[1].problems == ("1.0: upstream has no core metadata file, so what it requires is not known",)
    assert names(found(LINUX, MAC)) == ["app", "colours", "sdist-only", "trio", "web"]
    assert names(found(LINUX, extras=("speed",))) == ["app", "fast", "sdist-only", "web"]


def test_every_wanted_release_of_the_project_is_followed() -> None:
    answer = found(LINUX, versions=">=1")
    assert answer.needed[0].releases == ("1.0", "2.0")
    assert "legacy" in names(answer)


def test_what_is_not_there_is_a_problem_of_its_own() -> None:
    del INDEX["legacy-1.0"]
    answer = found(LINUX, versions="==1.0")
    assert answer.needed[1].problems == ("no release that satisfies ==1.0 has a file for cp312-manylinux_x86_64",)
    INDEX["legacy-1.0"] = []
    with pytest.raises(ProjectNotFound):
        closure("nothing", versions=(), extras=(), targets=[LINUX], upstream=upstream(), progress=Silent())


def test_a_closure_without_end_is_cut_off_and_says_so() -> None:
    answer = found(LINUX, MAC, most=3)
    assert answer.cut_off
    assert len(answer.needed) <= 3


def test_what_is_needed_becomes_recipes_that_only_mirror(tmp_path) -> None:
    """They parse, build nothing, and never touch a recipe that is there."""
    defaults = '[targets]\npythons = ["cp312"]\nplatforms = ["manylinux_x86_64"]\n'
    (tmp_path / "defaults.toml").write_text(defaults)
    for needed in found(LINUX, MAC).needed:
        assert mirror_recipe(tmp_path, needed, mode=MirrorMode.COPY) is not None
        assert mirror_recipe(tmp_path, needed, mode=MirrorMode.COPY) is None
    recipes = {recipe.project: recipe for recipe in load_recipes(tmp_path)}
    assert sorted(recipes) == ["app", "colours", "sdist-only", "trio", "web"]
    assert all(recipe.mirror.mode is MirrorMode.COPY and not recipe.versions for recipe in recipes.values())
    assert recipes["web"].mirror.versions == ()  # colours takes any
