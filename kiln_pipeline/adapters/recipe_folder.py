"""The folder of recipes on disk: ``defaults.toml``, ``<project>/recipe.toml`` and ``<project>/patches/``.

What they may say is in `core.recipe_toml`.
"""

import contextlib
import os
import re
import tempfile
from datetime import datetime
from pathlib import Path

from kiln_pipeline.core.distributions import ProjectPage, project_name
from kiln_pipeline.core.mirror.closure import Needed
from kiln_pipeline.core.mirror.settings import MirrorMode
from kiln_pipeline.core.recipe_starter import ReleaseGaps, defaults_recipe, release_gaps, starter
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


def new_recipe(folder: Path, project: str, *, version: str = "", page: ProjectPage | None, now: datetime) -> Path:
    """Write a starter recipe for `project` and return its path; the folder gets a ``defaults.toml`` when it has none.

    It is for `version`, else the newest release on upstream's `page` that lacks wheels `now`; without a page it wants nothing
    until it is edited. Raises `RecipeError` when the name is invalid, the recipe exists already, upstream has no sdist or
    nothing is missing, and `StoreError` when the folder cannot be written.
    """
    try:
        name = project_name(project)
    except ValueError as error:
        raise RecipeError([Problem(file=project, field="", message=str(error))]) from error
    path = folder / name / RECIPE
    wanted = defaults_recipe(_defaults(folder), name, version)
    text = starter(name, () if page is None else _gaps(page, wanted, now), wanted)
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


def _defaults(folder: Path) -> str:
    problems: list[Problem] = []
    text = _read(folder / DEFAULTS, problems) if (folder / DEFAULTS).exists() else STARTER_DEFAULTS
    if text is None:
        raise RecipeError(problems)
    return text


def _gaps(page: ProjectPage, wanted: Recipe, now: datetime) -> tuple[ReleaseGaps, ...]:
    gaps = release_gaps(page, wanted, now=now)
    if not gaps:
        message = "upstream has no sdist of it (or it is yanked), and kiln builds from sdists only; nothing to write"
        raise RecipeError([Problem(file=page.project, field="", message=message)])
    if not any(gap.missing for gap in gaps):
        release = f"{page.project}=={next(iter(gaps)).version}"
        lines = f" and of the newest release of all {len(gaps)} lines" if len(gaps) > 1 else ""
        hint = f"`kiln explain {release} IDENTIFIER` says what covers a target"
        message = f"upstream has wheels of {release}{lines} for every default target that there can be; nothing to write ({hint})"
        raise RecipeError([Problem(file=page.project, field="", message=message)])
    return gaps


def mirror_recipe(folder: Path, needed: Needed, *, mode: MirrorMode) -> Path | None:
    """Write a recipe that builds nothing and mirrors a project of a closure; None when it has a recipe already.

    Raises `StoreError` when the folder cannot be written.
    """
    path = folder / needed.project / RECIPE
    asked = sorted(specifier for specifier in needed.specifiers if specifier) if "" not in needed.specifiers else []
    reason = f"required by {', '.join(needed.by[:5])}{' and others' if len(needed.by) > 5 else ''}" if needed.by else "asked for"
    lines = [f'project = "{needed.project}"', f'reason = "{reason}"', "versions = []   # builds nothing", ""]
    if mode is MirrorMode.COPY and asked:
        listed = ", ".join(f'"{specifier}"' for specifier in asked)
        lines += ["[mirror]", 'mode = "copy"', f"versions = [{listed}]"]
    else:
        lines += [f'mirror = "{mode}"']
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path if _write_new(path, "\n".join(lines) + "\n") else None
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise StoreError(key=str(path), reason=reason, hint="see to the folder") from error


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

[limits]                # of one build; where each is enforced, and how, stands in every wheel's statement
memory = "8GiB"
cpus = 0                # cores; 0: all
time = "2h"             # on the clock, for each way of building that is tried
cpu-time = "8h"         # of one process
processes = 2048
file-size = "4GiB"      # of any one file
disk = "20GiB"          # of the build's folder
log = "64MiB"           # what it may print
"""
