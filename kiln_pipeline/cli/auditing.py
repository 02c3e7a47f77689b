"""`kiln audit …` and `kiln host …`: thin commands over the stages of the audit trail. Loads no Dagster."""

import os
import sys
from pathlib import Path
from typing import Any

import click


def _workspace(**replacements: Any) -> Any:
    from kiln_pipeline.workspace import Workspace

    return Workspace.from_environment(Path.cwd(), os.environ, **replacements)


@click.group()
def audit() -> None:
    """Hold the site against its log, and hand the trail on."""


@audit.command("check")
@click.option("--full", is_flag=True, help="Read every file again, not only what is new and what is in turn.")
@click.option("--log-key", metavar="VKEY", help="The audit log's verifier key (default: that of this workspace's own key).")
def check(full: bool, log_key: str | None) -> None:
    """Verify the whole site against the log, and the log against itself. Exits with 6 when anything differs.

    Each run reads what is new since the last one and a seventh of the rest, looks for every file, and compares every page. It
    can be ended at any time; the next one goes on from there.
    """
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
    from kiln_pipeline.errors import VerificationError
    from kiln_pipeline.stages.audit import audit as run

    with TerminalProgress() as progress:
        workspace = _workspace(progress=progress)
        key = log_key or str(VerifierKey.of(workspace.log_key))
        report = run(site=workspace.site, state=workspace.state, log_key=key, full=full, progress=progress)
    for name, difference in report.differences:
        click.echo(f"{name}: {difference}")
    click.echo(
        f"{report.size} entries, {report.read} read now, {report.verified} verified; {len(report.differences)} differences"
    )
    if report.differences:
        sys.exit(VerificationError.exit_code)


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
