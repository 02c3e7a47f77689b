"""What a strategy changes in an unpacked sdist: the requirements it adds, and kiln's header for C API of older Pythons."""

import hashlib
import os
from pathlib import Path
from shutil import copyfile

from kiln_pipeline.core.build_plan import BuildPlan, Material
from kiln_pipeline.core.cython_insides import RULES, without_insides
from kiln_pipeline.core.cython_sources import C_SUFFIXES, HEAD_SIZE, generated_by
from kiln_pipeline.core.pyproject import with_requirements

OLD_C_API = Path(__file__).parent / "old_c_api"
"""The header, and those that moved, to be found before Python's own."""
_FOLDER = ".kiln-old-c-api"


def mends_source(plan: BuildPlan) -> bool:
    """Return whether `mend_source` changes anything, so that the sdist cannot be handed over as it is."""
    return bool(plan.strategy.adds or plan.strategy.old_c_api)


def mend_source(source: Path, plan: BuildPlan, *, log: Path) -> None:
    """Change the unpacked sdist in `source` as the plan's strategy wants it, and note that in `log`. Times are the sdist's."""
    if plan.strategy.adds:
        project = source / "pyproject.toml"
        text = project.read_text(encoding="utf-8") if project.is_file() else ""
        try:
            _write(project, with_requirements(text, plan.strategy.adds), plan.source_date_epoch)
        except (ValueError, UnicodeDecodeError) as error:
            _note(log, f"kiln: no requirement is added: {error}")
        else:
            _note(log, f"kiln: {', '.join(plan.strategy.adds)} added to the build requirements of the sdist")
    if plan.strategy.old_c_api:
        for header in _headers():
            copy = source / _FOLDER / header.relative_to(OLD_C_API)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copyfile(header, copy)
            os.utime(copy, (plan.source_date_epoch, plan.source_date_epoch))
        for path in _generated(source):
            text = path.read_bytes().decode("utf-8", errors="surrogateescape")
            mended = without_insides(text, plan.identifier.python)
            if mended != text:
                _write(path, mended, plan.source_date_epoch)
                _note(log, f"kiln: {path.relative_to(source).as_posix()} asks CPython's functions for what it took from a struct")


def compiler_flags(plan: BuildPlan, source: str) -> str:
    """Return the flags that a build in the folder `source` needs for the header; empty without it."""
    return f"-I{source}/{_FOLDER}" if plan.strategy.old_c_api else ""


def header_material(plan: BuildPlan) -> tuple[Material, ...]:
    """Return the header, and the rules for what no header can give, as something that went in, by their hash."""
    if not plan.strategy.old_c_api:
        return ()
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _headers()) + repr(RULES).encode()).hexdigest()
    return (Material(name="kiln-old-c-api", kind="header", sha256=digest),)


def _headers() -> list[Path]:
    return sorted(OLD_C_API.rglob("*.h"))


def _generated(source: Path) -> list[Path]:
    found = (Path(folder, name) for folder, _, names in os.walk(source) for name in names if name.endswith(C_SUFFIXES))
    return sorted(path for path in found if not path.is_symlink() and generated_by(path.read_bytes()[:HEAD_SIZE]))


def _write(path: Path, text: str, mtime: int) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    os.utime(path, (mtime, mtime))


def _note(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
