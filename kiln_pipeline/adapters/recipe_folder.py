"""The folder of recipes on disk: ``defaults.toml``, ``<project>/recipe.toml`` and ``<project>/patches/``.

What they may say is in `core.recipe_toml`.
"""

import contextlib
import os
import re
import tempfile
from pathlib import Path

from packaging.version import Version

from kiln_pipeline.core.distributions import FileKind, ProjectPage, project_name
from kiln_pipeline.core.recipe_toml import PATCHES, parse_recipes
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.errors import Problem, RecipeError, StoreError

DEFAULTS = "defaults.toml"
DEMAND = "demand"
"""A folder of lock files and downloads (`adapters.demand_folder`), and no recipe unless it holds one."""
RECIPE = "recipe.toml"
_PATCH = re.compile(r"[a-z0-9][a-z0-9._-]*\.patch", re.ASCII)


def load_recipes(folder: Path) -> tuple[Recipe, ...]:
    """Read every recipe of a folder, sorted by project.

    Raises one `RecipeError` with every problem of every file: missing, unreadable, not UTF-8, or not what the format says.
    """
    problems: list[Problem] = []
    defaults = _read(folder / DEFAULTS, problems) if folder.is_dir() else None
    texts = {name: _read(folder / name / RECIPE, problems) for name in _project_folders(folder, problems)}
    patches = {name: _read_patches(folder / name / PATCHES, problems) for name in texts}
    recipes: tuple[Recipe, ...] = ()
    try:
        if defaults is not None:
            recipes = parse_recipes(
                defaults,
                {name: text for name, text in texts.items() if text is not None},
                patches=patches,
                defaults_file=str(folder / DEFAULTS),
                file_of=lambda name: str(folder / name / RECIPE),
            )
    except RecipeError as error:
        problems.extend(error.problems)
    if problems:
        raise RecipeError(sorted(problems, key=lambda problem: problem.file))
    return recipes


def check_recipes(folder: Path) -> tuple[Problem, ...]:
    """Return every problem of a folder of recipes, sorted by file; an empty tuple when there is none."""
    try:
        load_recipes(folder)
    except RecipeError as error:
        return error.problems
    return ()


def new_recipe(folder: Path, project: str, *, page: ProjectPage | None) -> Path:
    """Write a starter recipe for `project` and return its path; the folder gets a ``defaults.toml`` when it has none.

    The version is the newest on upstream's `page` that has an sdist; without a page the recipe wants nothing until it is
    edited. Raises `RecipeError` when the name is invalid, the recipe exists already or upstream has no sdist, and
    `StoreError` when the folder cannot be written.
    """
    try:
        name = project_name(project)
    except ValueError as error:
        raise RecipeError([Problem(file=project, field="", message=str(error))]) from error
    path = folder / name / RECIPE
    text = _starter(name, None if page is None else _newest_with_sdist(page))
    made = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _write_new(path, text):
            raise RecipeError([Problem(file=str(path), field="", message="exists already; edit it, or remove it first")])
        _write_new(folder / DEFAULTS, STARTER_DEFAULTS)
    except OSError as error:
        if made:
            with contextlib.suppress(OSError):  # it may not be there, or hold a recipe by now
                path.parent.rmdir()
        reason = f"cannot be written: {error.strerror or error}"
        raise StoreError(key=str(path), reason=reason, hint="see to the folder") from error
    return path


def _project_folders(folder: Path, problems: list[Problem]) -> list[str]:
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        hint = "run kiln in the folder that holds it, or write a first recipe"
        problems.append(Problem(file=str(folder), field="", message=f"does not exist; {hint}"))
        return []
    except OSError as error:
        problems.append(Problem(file=str(folder), field="", message=f"cannot be read: {error.strerror}; see to the folder"))
        return []
    for stray in entries:
        if stray.suffix == ".toml" and stray.name != DEFAULTS and not stray.is_dir():
            message = f"is no recipe here; a recipe is {folder / 'PROJECT' / RECIPE}, move it there"
            problems.append(Problem(file=str(stray), field="", message=message))
    folders = (entry for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return [entry.name for entry in folders if entry.name != DEMAND or (entry / RECIPE).exists()]


def _read_patches(folder: Path, problems: list[Problem]) -> dict[str, str]:
    """Return the patches of one recipe, name -> text; anything else in the folder is a problem."""
    texts: dict[str, str] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not _PATCH.fullmatch(path.name):
            problems.append(
                Problem(file=str(path), field="", message="is no patch; name it like python-3.12.patch, or remove it")
            )
        elif (text := _read(path, problems)) is not None:
            texts[path.name] = text
    return texts


def _read(path: Path, problems: list[Problem]) -> str | None:
    # bytes, since the recorded hash is of the text as it stands: no translated line ends
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        message = "is missing; write it, or remove the folder" if path.name == RECIPE else "is missing; write it"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 (byte {error.start}); save it as UTF-8"
    except OSError as error:
        message = f"cannot be read: {error.strerror}; see to the file"
    problems.append(Problem(file=str(path), field="", message=message))
    return None


def _write_new(path: Path, text: str) -> bool:
    """Write a file whole or not at all; False when there is one already."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
        Path(temporary).chmod(0o644)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink()
    return True


def _newest_with_sdist(page: ProjectPage) -> Version:
    sdists = {Version(file.version) for file in page.files if file.kind is FileKind.SDIST and not file.yanked}
    if not sdists:
        message = "upstream has no sdist of it (or all are yanked), and kiln builds from sdists only; nothing to write"
        raise RecipeError([Problem(file=page.project, field="", message=message)])
    return max(sdists, key=lambda version: (not version.is_prerelease, version))


def _starter(project: str, version: Version | None) -> str:
    wanted = f'"=={version}"' if version else '"==0"   # nothing yet: write the releases that you want'
    reason = f"upstream's wheels of {project} {version or ''}".rstrip() + " leave some targets out: say which, and who needs them"
    prereleases = "prereleases = true\n" if version and version.is_prerelease else ""
    return _STARTER.format(project=project, reason=reason, wanted=wanted, prereleases=prereleases)


_STARTER = """\
# Every key has its default in ../defaults.toml or here; remove what you do not need.

project = "{project}"
reason = "{reason}"
versions = {wanted}
{prereleases}
# [targets]                              # lists replace the defaults' lists
# pythons = ["cp311", "cp312"]
# platforms = ["manylinux_x86_64"]
# glibc = "2.17"                         # for systems older than AlmaLinux 8

# [build]
# constraints = ["Cython<3"]             # bounds on build requirements (PEP 508)
# extensions = ["package._speedups"]     # modules that the wheel must contain

# [system-packages]                      # installed before the build, by the package manager that is there
# dnf = ["libyaml-devel"]
# apt = ["libyaml-dev"]
# apk = ["yaml-dev"]
# brew = ["libyaml"]

# [cibuildwheel]                         # cibuildwheel's own options
# test-command = 'python -c "import package"'

# [[overrides]]                          # for some versions only
# versions = "<2"
# [overrides.build]
# constraints = ["setuptools<66"]
"""

STARTER_DEFAULTS = """\
# What every recipe gets unless it says otherwise: tables key by key, lists as a whole.

min-age = "24h"   # wheels often follow their sdist by hours

[targets]
pythons = ["cp311", "cp312", "cp313"]
platforms = [
  "macosx_arm64",
  "macosx_x86_64",
  "manylinux_x86_64",
  "manylinux_aarch64",
  "musllinux_x86_64",
  "musllinux_aarch64",
]
glibc = "2.28"          # AlmaLinux 8: the oldest image that is still kept up
musl = "1.2"
macos-arm64 = "11.0"    # the first macOS for arm64
macos-x86_64 = "10.13"  # what python.org's installers need from Python 3.12 on
"""
