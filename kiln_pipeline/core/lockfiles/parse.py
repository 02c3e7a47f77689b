"""Which format a lock file has, by its name, and the text read accordingly."""

import posixpath
import re
from collections.abc import Callable

from kiln_pipeline.core.lockfiles.model import LockFile
from kiln_pipeline.core.lockfiles.pdm_lock import parse_pdm_lock
from kiln_pipeline.core.lockfiles.poetry_lock import parse_poetry_lock
from kiln_pipeline.core.lockfiles.pylock_toml import parse_pylock
from kiln_pipeline.core.lockfiles.requirements_txt import parse_requirements
from kiln_pipeline.core.lockfiles.uv_lock import parse_uv_lock
from kiln_pipeline.errors import Problem, RecipeError

_TOML: tuple[tuple[str, Callable[..., LockFile]], ...] = (
    (r"(.*[.-])?uv\.lock", parse_uv_lock),
    (r"(.*[.-])?poetry\.lock", parse_poetry_lock),
    (r"(.*[.-])?pdm\.lock", parse_pdm_lock),
    (r"(.*[.-])?pylock(\.[^.]+)?\.toml", parse_pylock),
)


def parse_lock(text: str, *, file: str, read: Callable[[str], str]) -> LockFile:
    """Read a lock; its format is known by the end of its name (``uv.lock``, ``service-a.uv.lock``, …, any ``.txt`` for pip's).

    `read` returns the text of a further file that pip's format can include, by its path. Raises `RecipeError`.
    """
    name = posixpath.basename(file)
    for pattern, parse in _TOML:
        if re.fullmatch(pattern, name):
            return parse(text, file=file)
    if name.endswith((".txt", ".in")):
        return parse_requirements(text, file=file, read=read)
    known = "requirements.txt (or another .txt), uv.lock, poetry.lock, pdm.lock or pylock.toml"
    raise RecipeError([Problem(file=file, field="", message=f"is no lock file that kiln knows by its name: {known}")])
