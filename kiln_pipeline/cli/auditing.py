"""`kiln audit …` and `kiln host …`: thin commands over the stages of the audit trail. Loads no Dagster."""

import os
from pathlib import Path
from typing import Any

import click


def _workspace(**replacements: Any) -> Any:
    from kiln_pipeline.workspace import Workspace

    return Workspace.from_environment(Path.cwd(), os.environ, **replacements)


@click.group()
def host() -> None:
    """Build hosts, and who may sign."""


@host.command()
@click.option("--platform", "platforms", multiple=True, metavar="P", help="What it builds for (default: its own). Repeatable.")
def enroll(platforms: tuple[str, ...]) -> None:
    """Print the lines for deploy/hosts.toml that enrol this host. Its key is made on first use and stays here.

    The publisher adds them to the file that KILN_HOSTS names there (default: deploy/hosts.toml). A host that may no longer sign
    gets `revoked = 2026-11-30` and `reason = "…"`; what the log has of it stays valid.
    """
    from dataclasses import replace

    from kiln_pipeline.core.hosts import enrolment, parse_hosts
    from kiln_pipeline.core.platforms import Platform
    from kiln_pipeline.errors import Problem, RecipeError

    unknown = [name for name in platforms if name not in Platform.__members__.values()]
    if unknown:
        message = f"{', '.join(unknown)} is none of {', '.join(Platform)}"
        raise RecipeError([Problem(file="--platform", field="", message=message)])
    own = _workspace().own_host
    lines = enrolment(replace(own, platforms=tuple(map(Platform, dict.fromkeys(platforms)))) if platforms else own)
    parse_hosts(lines, "KILN_HOST")
    click.echo(lines, nl=False)
