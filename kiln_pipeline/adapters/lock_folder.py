"""Lock files on disk. What they say is `core.lockfiles`' matter."""

from pathlib import Path

from kiln_pipeline.core.lockfiles.model import LockFile
from kiln_pipeline.core.lockfiles.parse import parse_lock
from kiln_pipeline.errors import Problem, RecipeError

_MOST_BYTES = 64 << 20


def read_lock(path: Path) -> LockFile:
    """Read a lock file, and what a requirements file includes from beside it. Raises `RecipeError`."""
    return parse_lock(read_text(path), file=path.as_posix(), read=_text)


def read_text(path: Path) -> str:
    """Return the text of a file that may be big, but not absurdly so. Raises `RecipeError`."""
    return _text(path.as_posix())


def _text(file: str) -> str:
    path = Path(file)
    try:
        if path.stat().st_size > _MOST_BYTES:
            message = f"has {path.stat().st_size:,} bytes, more than any lock file ({_MOST_BYTES:,})"
            raise RecipeError([Problem(file=file, field="", message=message)])
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        message = "does not exist; check the path"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 (byte {error.start})"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    raise RecipeError([Problem(file=file, field="", message=message)])
