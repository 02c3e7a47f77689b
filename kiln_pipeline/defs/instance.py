"""Dagster's instance under this workspace's home. Only folders and environment; no assets."""

import os
from collections.abc import MutableMapping
from pathlib import Path

from kiln_pipeline.errors import Problem, RecipeError, StoreError

EMBEDDED = ".kiln/dagster"
"""How dagster.yaml in the working folder writes the embedded instance's folder."""


def prepare(
    folder: Path,
    home: Path,
    environment: MutableMapping[str, str],
    *,
    settings: str = "dagster.yaml",
    name: str = "dagster",
) -> None:
    """Point DAGSTER_HOME at ``<home>/<name>`` with the working folder's `settings`, unless the operator has set one.

    The paths in it are made absolute, so that the web server, the daemon and `kiln run` share one instance wherever
    they start. Raises `RecipeError` when the working folder is none of kiln's.
    """
    if environment.get("DAGSTER_HOME"):
        return
    source = folder / settings
    missing = [each for each in (settings, "workspace.yaml") if not (folder / each).is_file()]
    if missing:
        message = "not found: start kiln in the folder that holds workspace.yaml, dagster.yaml and recipes/"
        raise RecipeError([Problem(file=each, field="", message=message) for each in missing])
    target = home / name
    text = source.read_text(encoding="utf-8").replace(f"base_dir: {EMBEDDED}", f"base_dir: {target.as_posix()}")
    aside = target / f"dagster.yaml.{os.getpid()}"
    try:
        target.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        aside.replace(target / "dagster.yaml")
    except OSError as error:
        hint = "Dagster's instance lives there: make it writable, or set KILN_HOME"
        raise StoreError(key=str(target), reason=error.strerror or str(error), hint=hint) from error
    environment["DAGSTER_HOME"] = str(target)
    environment.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
