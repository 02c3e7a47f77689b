"""`kiln recipes …`: check recipes, or start a new one. Loads no Dagster."""

import dataclasses
import json
import sys
from pathlib import Path

import click

from kiln_pipeline.cli.commands import open_workspace
from kiln_pipeline.errors import Problem, RecipeError


@click.group()
def recipes() -> None:
    """Check recipes, or start a new one."""


@recipes.command()
@click.option("--json", "as_json", is_flag=True, help="The problems as one JSON array, for programs.")
def check(as_json: bool) -> None:
    """Parse every recipe and report every problem at once, with file and key."""
    from kiln_pipeline.adapters.recipe_folder import check_recipes

    folder = open_workspace().recipes_folder
    problems = check_recipes(folder)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(problem) for problem in problems], indent=2))
        sys.exit(RecipeError.exit_code if problems else 0)
    if problems:
        raise RecipeError(problems)
    click.echo(f"{folder.name}: every recipe is well")


@recipes.command()
@click.argument("name", metavar="PROJECT[==VERSION]")
def new(name: str) -> None:
    """Write a starter recipe: for VERSION, else for the newest release that lacks wheels; and what the project's others lack."""
    from kiln_pipeline.adapters.recipe_folder import new_recipe
    from kiln_pipeline.core.distributions import Release, project_name

    workspace = open_workspace()
    try:
        release = Release.parse(name) if "==" in name else Release(project=project_name(name), version="")
    except ValueError as error:
        raise RecipeError([Problem(file=name, field="", message=str(error))]) from None
    page = workspace.upstream.project_page(release.project).page
    path = new_recipe(workspace.recipes_folder, release.project, version=release.version, page=page, now=workspace.clock())
    click.echo(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}: edit it, then `kiln recipes check`")
