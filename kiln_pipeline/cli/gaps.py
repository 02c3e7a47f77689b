"""`kiln missing`, `explain`, `failures`, `lock-check`: what lacks a wheel, and why. Loads no Dagster."""

import json
import sys
from pathlib import Path

import click

from kiln_pipeline.cli import completion
from kiln_pipeline.cli.commands import check_pythons, open_workspace
from kiln_pipeline.errors import UpstreamError


@click.command()
@click.argument("projects", nargs=-1, shell_complete=completion.projects)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    shell_complete=completion.platforms,
    help="Only this platform, such as manylinux_x86_64. Repeatable.",
)
@click.option("--python", "pythons", multiple=True, metavar="TAG", help="Only this Python, such as cp312. Repeatable.")
@click.option("--all", "everything", is_flag=True, help="Also what is not missing, with the reason.")
@click.option("--reason", "rules", multiple=True, metavar="RULE", help="Only rows of this rule, such as too-new. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def missing(
    projects: tuple[str, ...],
    platforms: tuple[str, ...],
    pythons: tuple[str, ...],
    everything: bool,
    rules: tuple[str, ...],
    as_json: bool,
) -> None:
    """Ask upstream, and list the missing wheels of all recipes (or of PROJECTS), each with its reason."""
    from kiln_pipeline.adapters.terminal import TerminalProgress, console
    from kiln_pipeline.cli import report

    check_pythons(pythons)
    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        rows, broken = report.missing_rows(workspace, projects, platforms, pythons, rules, everything=everything)
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
    else:
        report.missing_table(console(sys.stdout), rows, title="missing wheels")
    if broken:
        sys.exit(UpstreamError.exit_code)


@click.command()
@click.argument("release", metavar="PROJECT==VERSION")
@click.argument("identifier", metavar="IDENTIFIER")
@click.option("--json", "as_json", is_flag=True, help="The whole answer as one JSON object, for programs.")
def explain(release: str, identifier: str, as_json: bool) -> None:
    """Say why one release has, lacks or cannot have a wheel for IDENTIFIER, such as cp310-macosx_arm64.

    Any project upstream can be asked about, tracked or not: the verdict, the rule that gave it, and every upstream file with
    what it lacks.
    """
    from kiln_pipeline.adapters.terminal import console
    from kiln_pipeline.cli import explaining

    answer = explaining.explanation(open_workspace(), release, identifier)
    if as_json:
        click.echo(json.dumps(answer.as_dict(), indent=2))
    else:
        explaining.show(console(sys.stdout), answer)


@click.command()
@click.argument("projects", nargs=-1, metavar="[PROJECT]…", shell_complete=completion.projects)
@click.option("--class", "classes", multiple=True, metavar="CLASS", help="Only this class, such as missing-header. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def failures(projects: tuple[str, ...], classes: tuple[str, ...], as_json: bool) -> None:
    """Say what the missing wheels fail for: grouped by class and by what is missing, the commonest first.

    From the audit log, for what the last `kiln missing` found missing. Each group has its projects, when it is tried again, and
    one log to read.
    """
    from kiln_pipeline.adapters.terminal import console
    from kiln_pipeline.cli import failing

    workspace = open_workspace()
    found = failing.groups(workspace, projects, classes)
    if as_json:
        click.echo(json.dumps(failing.as_dicts(found, workspace.site_url), indent=2))
    else:
        failing.show(console(sys.stdout), found, workspace.site_url)


@click.command("lock-check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--target", "targets", multiple=True, required=True, metavar="IDENTIFIER", help="Such as cp312-macosx_arm64. Repeatable."
)
@click.option("--macos", metavar="VERSION", help="The targets' macOS, such as 14.0 (default: the recipes' floor, 11.0 or 10.13).")
@click.option("--glibc", metavar="VERSION", help="The targets' glibc, such as 2.35 (default: the recipes' floor, 2.28).")
@click.option("--musl", metavar="VERSION", help="The targets' musl (default: the recipes' floor, 1.2).")
@click.option("--index-url", metavar="URL", help="Our simple index; without it, what this folder's audit log says is published.")
@click.option("--json", "as_json", is_flag=True, help="The whole report as one JSON object, for programs.")
def lock_check(file: Path, targets: tuple[str, ...], index_url: str | None, as_json: bool, **systems: str | None) -> None:
    """Say what a lock would compile on a target, and which of that kiln has or could build.

    FILE is a requirements.txt (pinned), uv.lock, poetry.lock, pdm.lock or pylock.toml. All extras and groups count.

    Exits with 0 when nothing would compile (our index counts as asked), with 1 when something would or a requirement is not
    pinned. Packages from git, URLs and paths are listed, and do not count.
    """
    from kiln_pipeline.adapters.terminal import TerminalProgress, console
    from kiln_pipeline.cli import lock_checking

    with TerminalProgress() as progress:
        report = lock_checking.check(open_workspace(progress=progress), file, targets, index_url, systems)
    config = lock_checking.config_for(report, index_url or f"{open_workspace().site_url}simple/")
    if as_json:
        click.echo(json.dumps(lock_checking.as_dict(report, config), indent=2))
    else:
        lock_checking.show(console(sys.stdout), report, config)
    sys.exit(0 if report.clean else 1)
