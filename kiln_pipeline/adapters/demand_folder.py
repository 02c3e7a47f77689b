"""The folder of demand on disk (``recipes/demand``): lock files of those who need wheels, and a table of downloads."""

from pathlib import Path

from kiln_pipeline.adapters.lock_folder import read_lock, read_text
from kiln_pipeline.core.demand import Demand, demand_of, lock_pins, parse_downloads
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.lockfiles.model import LockFile
from kiln_pipeline.errors import Problem, RecipeError

DOWNLOADS = "downloads.csv"
_PROSE = (".md", ".rst")
_RECIPE = "recipe.toml"
"""There is a project of the name ``demand`` too."""


def load_demand(folder: Path) -> Demand:
    """Read every lock file below `folder`, at any depth, and its ``downloads.csv``; nothing where there is no folder.

    A lock is known by its path within the folder. Raises one `RecipeError` with every problem of every file.
    """
    problems: list[Problem] = []
    locks: list[tuple[str, LockFile]] = []
    downloads: list[dict[Release, int]] = []
    for path in _files(folder):
        try:
            if path == folder / DOWNLOADS:
                downloads.append(parse_downloads(read_text(path), file=path.as_posix()))
            else:
                locks.append((path.relative_to(folder).as_posix(), read_lock(path)))
        except RecipeError as error:
            problems.extend(error.problems)
    if problems:
        raise RecipeError(problems)
    return demand_of(lock_pins(locks), downloads)


def _files(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.rglob("*"))
    except OSError as error:
        raise RecipeError([Problem(file=str(folder), field="", message=f"cannot be read: {error.strerror}")]) from error
    files = [path for path in found if path.is_file() and not path.name.startswith(".") and path.name != _RECIPE]
    return [path for path in files if path.suffix not in _PROSE]
