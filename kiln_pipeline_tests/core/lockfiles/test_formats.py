"""Locks that uv, Poetry, PDM and pip really wrote, for the same project: they pin the same, and need the same on each target."""

import re

import pytest

from kiln_pipeline.core.lockfiles.model import Installer, LockedPackage, LockFile
from kiln_pipeline.core.lockfiles.parse import parse_lock
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.errors import RecipeError
from kiln_pipeline_tests.workspaces import DATA

LOCKS = DATA / "locks"
CAPTURED = {
    "requirements.txt": Installer.PIP,
    "uv.lock": Installer.UV,
    "poetry.lock": Installer.POETRY,
    "pdm.lock": Installer.PDM,
    "pylock.pdm.toml": Installer.PDM,
    "pylock.uv.toml": Installer.UV,
}
EVERYWHERE = {"click==8.1.7", "markupsafe==2.0.1", "pyyaml==5.4.1", "redis==5.0.1", "ujson==5.4.0"}


def captured(name: str) -> LockFile:
    return parse_lock((LOCKS / name).read_text(), file=name, read=_no_further_file)


def parse(text: str, file: str) -> LockFile:
    return parse_lock(text, file=file, read=_no_further_file)


def _no_further_file(path: str) -> str:
    raise AssertionError(f"{path} is asked for")


def needed(lock: LockFile, target: str) -> set[str]:
    return {f"{p.project}=={p.version}" for p in lock.needed(BuildIdentifier.parse(target)) if not p.source}


@pytest.mark.parametrize("name", CAPTURED)
def test_every_format_needs_the_same_releases_on_each_target(name: str) -> None:
    """Markers are the target's: Apple Silicon gets wrapt, Python up to 3.11.2 async-timeout, nobody here colorama."""
    lock = captured(name)
    wanted = EVERYWHERE | {"regex==2022.10.31"}
    assert lock.installer is CAPTURED[name]
    assert (lock.unpinned, lock.notes) == ((), ())
    assert needed(lock, "cp312-manylinux_x86_64") == wanted
    assert needed(lock, "cp312-macosx_x86_64") == wanted
    assert needed(lock, "cp312-macosx_arm64") == wanted | {"wrapt==1.14.1"}
    assert needed(lock, "cp311-manylinux_aarch64") == wanted | {"async-timeout==5.0.1"}
    assert "colorama==0.4.6" in {str(release) for release in lock.releases()}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_path_is_told_from_a_package_index(name: str) -> None:
    local = [p.source for p in captured(name).packages if p.source not in ("", ".")]
    assert [source.removeprefix("./") for source in local] == ["local"]


def test_pips_own_lock_is_read() -> None:
    """`pip lock` writes one environment's packages, without markers."""
    assert captured("pylock.toml") == LockFile(
        file="pylock.toml",
        installer=Installer.PIP,
        packages=(
            LockedPackage(project="click", version="8.1.7"),
            LockedPackage(project="local-part", source="local"),
            LockedPackage(project="markupsafe", version="2.0.1"),
            LockedPackage(project="redis", version="5.0.1"),
        ),
    )


def test_uv_follows_only_extras_that_somebody_asks_for() -> None:
    """An extra of a dependency counts where an edge asks for it; a script's lock begins with its requirements."""
    lock = parse(
        """
version = 1
requires-python = ">=3.11"
[manifest]
requirements = [{ name = "a", extras = ["x"] }, { name = "b", marker = "sys_platform == 'win32'" }]
[[package]]
name = "a"
version = "1"
source = { registry = "https://files.example.org/simple" }
[package.optional-dependencies]
x = [
  { name = "c", version = "2", marker = "python_full_version >= '3.13'" },
  { name = "c", version = "1", marker = "python_full_version < '3.13'" },
]
y = [{ name = "b" }]
[[package]]
name = "b"
version = "1"
source = { registry = "https://files.example.org/simple" }
[[package]]
name = "c"
version = "1"
source = { registry = "https://files.example.org/simple" }
[[package]]
name = "c"
version = "2"
source = { git = "https://files.example.org/c.git?rev=main#0123" }
""",
        "uv.lock",
    )
    assert needed(lock, "cp312-macosx_arm64") == {"a==1", "c==1"}
    assert needed(lock, "cp313-macosx_arm64") == {"a==1"}
    assert [p.source for p in lock.packages] == ["", "", "", "git+https://files.example.org/c.git?rev=main#0123"]


def test_a_lock_of_poetry_1_says_that_it_has_no_markers() -> None:
    lock = parse(
        '[[package]]\nname = "A"\nversion = "1.0"\n[package.source]\ntype = "git"\nurl = "https://files.example.org/a"\n'
        'resolved_reference = "0123"\n[metadata]\nlock-version = "2.0"\npython-versions = "^3.9"\n',
        "poetry.lock",
    )
    assert lock.packages == (LockedPackage(project="a", version="1.0", source="git+https://files.example.org/a@0123"),)
    assert [note[:24] for note in lock.notes] == ["a lock of Poetry 1 has n"]


def test_groups_of_poetry_with_different_markers_are_a_union() -> None:
    template = """
[[package]]
name = "a"
version = "1"
groups = ["main", "dev"]
markers = {{main = "sys_platform == 'win32'"{dev}}}
[metadata]
lock-version = "2.1"
"""
    on_mac = template.format(dev=""", dev = "sys_platform == 'darwin'" """)
    assert needed(parse(on_mac, "poetry.lock"), "cp312-macosx_arm64") == {"a==1"}
    assert needed(parse(on_mac, "poetry.lock"), "cp312-manylinux_x86_64") == set()
    assert needed(parse(template.format(dev=""), "poetry.lock"), "cp312-manylinux_x86_64") == {"a==1"}


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("uv.lock", "version = ", "uv.lock: is no TOML"),
        ("uv.lock", "version = 2", "uv.lock: version: is 2, and this kiln reads version 1"),
        ("uv.lock", "version = 1\npackage = 3", "uv.lock: package: is no list but a integer"),
        ("uv.lock", "version = 1\n[[package]]\nversion = '1'", "uv.lock: package[1].name: is missing"),
        (
            "uv.lock",
            "version = 1\n[[package]]\nname = 'a'\nsource = { virtual = '.' }\ndependencies = [{ name = 'b' }]",
            "uv.lock: package[1].dependencies[1].name: 'b' is no package of this lock",
        ),
        ("poetry.lock", "", "poetry.lock: metadata.lock-version: is missing"),
        (
            "poetry.lock",
            '[[package]]\nname = "a"\nversion = "one"\n[metadata]\nlock-version = "2.1"',
            "poetry.lock: package[1].version: Invalid version: 'one'",
        ),
        (
            "poetry.lock",
            '[[package]]\nname = "a"\nversion = "1"\nmarkers = "os = x"\n[metadata]\nlock-version = "2.1"',
            "poetry.lock: package[1].markers: 'os = x' is no environment marker",
        ),
        ("pdm.lock", '[metadata]\nlock_version = "5.0"', "pdm.lock: metadata.lock_version: is 5.0, and this kiln reads 4.x"),
        ("pylock.toml", 'lock-version = "2.0"\ncreated-by = "x"\npackages = []', "pylock.toml: lock-version: "),
        (
            "pylock.toml",
            'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "a"\nversion = "1"',
            "pylock.toml: packages[0]: Exactly one of vcs, directory, archive must be set",
        ),
        ("Pipfile.lock", "{}", "Pipfile.lock: is no lock file that kiln knows by its name"),
    ],
)
def test_a_broken_lock_is_one_error_with_file_and_key(file: str, text: str, error: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(error)}"):
        parse(text, file)
