"""`kiln audit …` and `kiln host …`: thin commands over the stages of the audit trail. Loads no Dagster."""

import sys
from pathlib import Path

import click

from kiln_pipeline.cli.commands import open_workspace
from kiln_pipeline.cli.host_checking import doctor
from kiln_pipeline.cli.host_running import run


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
        workspace = open_workspace(progress=progress)
        key = log_key or str(VerifierKey.of(workspace.log_key))
        report = run(site=workspace.site, state=workspace.state, log_key=key, full=full, progress=progress)
    for name, difference in report.differences:
        click.echo(f"{name}: {difference}")
    click.echo(
        f"{report.size} entries, {report.read} read now, {report.verified} verified; {len(report.differences)} differences"
    )
    if report.differences:
        sys.exit(VerificationError.exit_code)


@audit.command("export")
@click.option(
    "--git", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A git repository, or an empty folder."
)
@click.option("--branch", default="audit", show_default=True, help="The branch that the trail is on, and nothing else.")
@click.option("--log-key", metavar="VKEY", help="The audit log's verifier key (default: that of this workspace's own key).")
def export_(folder: Path, branch: str, log_key: str | None) -> None:
    """Write the trail as a git history: one commit per entry, its build log and its signed statement.

    Run again, it adds the new entries alone. The same log gives the same commits everywhere.
    """
    from kiln_pipeline.adapters.git_history import GitHistory
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
    from kiln_pipeline.stages.export import export

    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        key = log_key or str(VerifierKey.of(workspace.log_key))
        report = export(site=workspace.site, log_key=key, history=GitHistory(folder, branch), progress=progress)
    click.echo(f"{report.added} commits added, {report.size} on branch {branch} of {folder}")


@audit.command("import-legacy")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def import_legacy_(folder: Path) -> None:
    """Take the build logs of the original's audit FOLDER into the log (<project>/<3_10>/<1_47_2>/1_build.txt).

    They become unsigned historical entries: on record, marked as such, and never counted as attempts. Run again, nothing changes.
    """
    from kiln_pipeline.adapters.directory import DirectoryStore
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.stages.import_legacy import import_legacy

    source = DirectoryStore(folder)
    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        with workspace.writing("site"):
            report = import_legacy(
                ((key, source.get(key)) for key in source.keys() if not key.startswith(".git/")),
                site=workspace.site,
                state=workspace.state,
                log_signer=workspace.log_key,
                progress=progress,
            )
    click.echo(f"{report.added} logs added, {report.already} already on record, {len(report.skipped)} other files left out")


@click.group()
def host() -> None:
    """Build hosts, and who may sign."""


host.add_command(doctor)
host.add_command(run)


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
    own = open_workspace().own_host
    lines = enrolment(replace(own, platforms=tuple(map(Platform, dict.fromkeys(platforms)))) if platforms else own)
    parse_hosts(lines, "KILN_HOST")
    click.echo(lines, nl=False)
