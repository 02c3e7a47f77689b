"""`kiln mirror …`: thin commands over the mirror's stages. Loads Dagster only where files and pages are written."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from kiln_pipeline.cli import completion
from kiln_pipeline.cli.commands import open_workspace
from kiln_pipeline.errors import Problem, RecipeError, StoreError, UpstreamError, VerificationError


@click.group()
def mirror() -> None:
    """Keep verified copies of upstream's files (recipes with mirror = "copy")."""


@mirror.command()
@click.argument("projects", nargs=-1, shell_complete=completion.projects)
@click.option("--dry-run", is_flag=True, help="Only list what would be copied; nothing is written but upstream's tables.")
@click.option("--minutes", type=click.FloatRange(min=0), metavar="N", help="Stop after N minutes; the next run goes on there.")
@click.option("--workers", type=click.IntRange(1, 64), default=8, show_default=True, help="Files at a time.")
@click.option("--rate", metavar="SIZE", help="Bytes a second of all downloads together, such as 5MB (KILN_MIRROR_RATE).")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object, for programs.")
def sync(projects: Sequence[str], dry_run: bool, minutes: float | None, workers: int, rate: str | None, as_json: bool) -> None:
    """Ask upstream, copy what is new of all copied projects (or of PROJECTS), then publish their pages.

    Killed at any point and run again, it goes on in the middle of a file. Exits with 3 when something could not be had from
    upstream, and with 5 when a store failed: what was copied is published all the same.
    """
    from dataclasses import replace

    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.stages import detect

    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        if rate is not None:
            workspace = replace(workspace, mirror_rate=_size("--rate", rate))
        copied = _copied(workspace, projects)
        with workspace.writing("tables"):
            asked = detect.refresh(
                [recipe.project for recipe in workspace.recipes],
                upstream=workspace.upstream,
                state=workspace.state,
                now=workspace.clock(),
                progress=progress,
                only=copied,
            )
        report = _copy(workspace, progress, set(projects and copied), dry_run, minutes, workers)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2, default=str))
    else:
        _show(report, dry_run=dry_run)
    if report.problem:
        click.echo(f"kiln: {report.problem}", err=True)
        sys.exit(StoreError.exit_code)
    if report.failed or asked.broken:
        sys.exit(UpstreamError.exit_code)


def _copy(workspace: Any, progress: Any, only: set[str], dry_run: bool, minutes: float | None, workers: int) -> Any:
    from kiln_pipeline.defs.assets.mirroring import copy_files, prune_copies  # the same as the asset's: it is Dagster's module
    from kiln_pipeline.defs.assets.publishing import write_pages

    report = copy_files(
        workspace, progress, only=only or None, workers=workers, minutes=minutes, meter=progress.meter, dry_run=dry_run
    )
    if not dry_run:
        write_pages(workspace, progress)
        with workspace.writing("mirror"):
            prune_copies(workspace, progress)  # what no page names any more
    return report


def _show(report: Any, *, dry_run: bool) -> None:
    for project in report.projects:
        skipped = "".join(f", {count} by {name}" for name, count in project.refused)
        there = project.wanted - project.left
        left = f", {project.left} to copy ({project.left_bytes:,} bytes)" if project.left else ""
        click.echo(f"{project.project}: {there} of {project.wanted} there{left}{'; skipped' + skipped[1:] if skipped else ''}")
        since = f" (since {project.failing_since:%Y-%m-%d %H:%M} UTC)" if project.failing_since else ""
        for filename, reason in project.failed:
            click.echo(f"  failed{since}: {reason if filename in reason else f'{filename}: {reason}'}")
    unlisted = f"; {report.unlisted} unlisted, kept for a time" if report.unlisted else ""
    verb = "would copy" if dry_run else "copied"
    count, size = ("left", "left_bytes") if dry_run else ("copied", "copied_bytes")
    click.echo(f"{verb} {report.total(count):,} files, {report.total(size):,} bytes{unlisted}")


@mirror.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, for programs.")
def status(as_json: bool) -> None:
    """Say what each copied project has, lacks and skips, and what failed in the last run. Asks nobody."""
    from dataclasses import replace

    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.defs.assets.mirroring import copy_files
    from kiln_pipeline.stages.mirror_report import load_report

    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        last = load_report(workspace.state)
        quiet = open_workspace()
        now = copy_files(quiet, quiet.progress, dry_run=True)
    failures = {project.project: project for project in last.projects} if last else {}
    lines = [
        replace(project, failed=failures[project.project].failed, failing_since=failures[project.project].failing_since)
        if project.project in failures
        else project
        for project in now.projects
    ]
    report = replace(now, projects=tuple(lines), problem=last.problem if last else "", finished=last.finished if last else None)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2, default=str))
        return
    click.echo(
        f"last run: {last.finished:%Y-%m-%d %H:%M} UTC{'; ' + last.problem if last.problem else ''}" if last else "never run"
    )
    _show(report, dry_run=True)


@mirror.command()
@click.argument("projects", nargs=-1, shell_complete=completion.projects)
def verify(projects: Sequence[str]) -> None:
    """Read and hash every copy (of PROJECTS). Bad ones leave their page until a sync copies them anew; then it exits with 6."""
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.stages.mirror import verify_copies

    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        only = set(_copied(workspace, projects)) if projects else None
        with workspace.writing("mirror"):
            found = verify_copies(site=workspace.site, state=workspace.state, progress=progress, only=only)
        if found:
            from kiln_pipeline.defs.assets.publishing import write_pages  # the same as the asset's: it is Dagster's module

            write_pages(workspace, progress)
    for key, what in found:
        click.echo(f"{what:<8} {key}")
    if found:
        sys.exit(VerificationError.exit_code)
    click.echo("every copy is what upstream stated")


@mirror.command()
@click.argument("project")
@click.option("--target", "targets", multiple=True, metavar="IDENTIFIER", help="Such as cp312-manylinux_x86_64. Repeatable.")
@click.option("--extra", "extras", multiple=True, metavar="NAME", help="With this extra of PROJECT. Repeatable.")
@click.option("--add", type=click.Choice(["link", "copy"]), help="Write a recipe that mirrors so for each project without one.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, for programs.")
def closure(project: str, targets: Sequence[str], extras: Sequence[str], add: str | None, as_json: bool) -> None:
    """List the projects that an index needs so that PROJECT installs from it alone.

    Of a project with a recipe every wanted release is followed for its targets; of another one the newest, for --target. Of each
    requirement it is the newest release that fits: what a resolver falls back to is of the same projects.
    """
    from kiln_pipeline.adapters.recipe_folder import mirror_recipe
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.core.mirror.settings import MirrorMode
    from kiln_pipeline.stages.closure import closure as follow

    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        name, versions, identifiers = _asked(workspace, project, targets)
        found = follow(
            name,
            versions=versions,
            extras=extras,
            targets=identifiers,
            upstream=workspace.upstream,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, default=str))
    else:
        for needed in found.needed:
            asked = " or ".join(specifier or "any" for specifier in needed.specifiers)
            click.echo(f"{needed.project} {asked}: {', '.join(needed.releases[-3:]) or 'none'}")
            for problem in needed.problems:
                click.echo(f"  {problem}")
        click.echo(f"{len(found.needed)} projects{', cut off there' if found.cut_off else ''}")
    if add:
        written = [
            path
            for needed in found.needed
            if any(needed.releases) and (path := mirror_recipe(workspace.recipes_folder, needed, mode=MirrorMode(add)))
        ]
        click.echo(f"{len(written)} recipes written; `kiln recipes check`, then `kiln mirror sync`", err=as_json)


def _asked(workspace: Any, project: str, targets: Sequence[str]) -> Any:
    """Return the normalised name, the versions to follow and the targets. Raises `RecipeError` with every problem."""
    from kiln_pipeline.core.distributions import project_name
    from kiln_pipeline.core.platforms import BuildIdentifier

    problems: list[Problem] = []
    name, identifiers = project, list[Any]()
    for text, parse in ((project, project_name), *((target, BuildIdentifier.parse) for target in targets)):
        try:
            parsed = parse(text)
        except ValueError as error:
            problems.append(Problem(file=text, field="", message=str(error)))
            continue
        if parse is project_name:
            name = parsed
        else:
            identifiers.append(parsed)
    recipes = workspace.recipes if workspace.recipes_folder.is_dir() else ()
    recipe = next((recipe for recipe in recipes if recipe.project == name), None)
    if not identifiers and recipe is not None:
        identifiers = [BuildIdentifier(python=python, platform=on) for python in recipe.pythons for on in recipe.platforms]
    if not identifiers and not problems:
        message = "is missing: the project has no recipe; write for example --target cp312-manylinux_x86_64"
        problems.append(Problem(file="--target", field="", message=message))
    if problems:
        raise RecipeError(problems)
    return name, recipe.versions if recipe else (), identifiers


@mirror.command("export-bandersnatch")
@click.option("--directory", default="/srv/pypi", show_default=True, help="Where bandersnatch is to keep its mirror.")
def export_bandersnatch(directory: str) -> None:
    """Print a configuration for bandersnatch that mirrors the projects that recipes copy, with an allow-list.

    What of our filters bandersnatch cannot say is in its comments.
    """
    import pypi_simple

    from kiln_pipeline.core.mirror.bandersnatch import bandersnatch_config

    workspace = open_workspace()
    _copied(workspace, ())
    upstream = os.environ.get("KILN_UPSTREAM", pypi_simple.PYPI_SIMPLE_ENDPOINT)
    click.echo(bandersnatch_config(workspace.recipes, upstream=upstream, directory=directory), nl=False)


def _copied(workspace: Any, projects: Sequence[str]) -> list[str]:
    """Return the normalised names of `projects`, or all that are copied. Raises `RecipeError` for one that is not."""
    from kiln_pipeline.core.distributions import project_name
    from kiln_pipeline.core.mirror.settings import MirrorMode

    copied = [recipe.project for recipe in workspace.recipes if recipe.mirror.mode is MirrorMode.COPY]
    problems: list[Problem] = []
    names: list[str] = []
    for text in projects:
        try:
            names.append(project_name(text))
        except ValueError as error:
            problems.append(Problem(file=text, field="", message=str(error)))
            continue
        if names[-1] not in copied:
            message = f'is not copied: write mirror = "copy" into recipes/{names[-1]}/recipe.toml'
            problems.append(Problem(file=text, field="", message=message))
    if not copied and not problems:
        message = 'has no project with mirror = "copy": write it into the recipe of each project that is to be copied'
        problems.append(Problem(file=workspace.recipes_folder.name, field="", message=message))
    if problems:
        raise RecipeError(problems)
    return names or copied


def _size(option: str, text: str) -> int:
    from kiln_pipeline.core.mirror.settings import size

    try:
        return size(text)
    except ValueError as error:
        raise RecipeError([Problem(file=option, field="", message=str(error))]) from None
