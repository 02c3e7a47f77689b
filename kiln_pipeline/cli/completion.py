"""What the shell completes besides commands and options: recipes' projects, platforms. Quick: it reads names, and no recipe."""

import os
from pathlib import Path

import click


def projects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 (click's signature)
    """Return the projects that have a recipe and begin like that."""
    folder = Path.cwd() / os.environ.get("KILN_RECIPES", "recipes")
    return sorted(path.parent.name for path in folder.glob(f"{_plain(incomplete)}*/recipe.toml"))


def platforms(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 (click's signature)
    """Return the platforms that begin like that."""
    from kiln_pipeline.core.platforms import Platform

    return [str(platform) for platform in Platform if platform.startswith(incomplete)]


def _plain(text: str) -> str:
    """Return the letters of a name that a pattern can begin with; nothing matches what is no name."""
    return text.lower().replace("_", "-") if all(letter.isalnum() or letter in "-_." for letter in text) else "?//"
