"""`kiln index …`: thin commands that check the published index, and copy the site elsewhere. Loads Dagster only to mend."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from kiln_pipeline.cli.commands import open_workspace
from kiln_pipeline.cli.dated_views import remove_snapshots, snapshot, snapshots
from kiln_pipeline.errors import Problem, RecipeError, StoreError, VerificationError


@click.group()
def index() -> None:
    """Check the published index, keep dated views of it, and copy the site to other places."""


for command in (snapshot, snapshots, remove_snapshots):
    index.add_command(command)


@index.command()
@click.option("--target", metavar="NAME", help="Check a [[publish]] target of kiln.toml, not the site itself.")
@click.option("--mend", is_flag=True, help="Write pages anew that are missing or altered, and remove those that nobody owns.")
def check(target: str | None, mend: bool) -> None:
    """Read and hash every object, and list what is missing, altered, or owned by nobody.

    What should be there is known from the last publish and from the audit log. Only pages are mended; a wheel, a log or a
    signature comes back from a backup. Exits with 6 while anything differs.
    """
    from kiln_pipeline.adapters.terminal import TerminalProgress

    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        findings = _check_target(workspace, progress, target, mend) if target else _check_site(workspace, progress, mend)
    if findings:
        sys.exit(VerificationError.exit_code)
    click.echo(f"{target or 'the index'} is as it was left")


def _check_site(workspace: Any, progress: Any, mend: bool) -> Sequence[Any]:
    from kiln_pipeline.stages import index_check

    with workspace.writing("site"):
        findings = index_check.check_site(workspace.site, workspace.state, progress=progress)
        _show(findings)
        projects = index_check.mend_pages(findings, workspace.state) if mend else ()
        for_people = mend and index_check.mend_for_people(findings, workspace.site, workspace.state)
    left = [finding for finding in findings if not (for_people and finding.is_for_people)]
    if not mend or (not for_people and not any(finding.is_page for finding in findings)):
        return findings
    # the same as the assets': they are Dagster's modules
    from kiln_pipeline.defs.assets.publishing import write_package_pages, write_pages

    if for_people:
        write_package_pages(workspace, progress)
        click.echo("mended: the pages for people")
    report = write_pages(workspace, progress)
    click.echo(f"mended: {len(report.written)} projects written anew, {len(report.removed)} removed")
    stayed = {project for project, _ in report.problems}
    for project, reason in report.problems:
        click.echo(f"not mended: {project}: {reason}")
    return [finding for finding in left if not finding.is_page or stayed & set(projects)]


def _check_target(workspace: Any, progress: Any, target: str, mend: bool) -> Sequence[Any]:
    from kiln_pipeline.ports import ReleasePage
    from kiln_pipeline.stages import index_check

    store = _targets(workspace, [target])[target]
    if isinstance(store, ReleasePage):
        raise RecipeError([Problem(file="kiln.toml", field=target, message="is a page of releases: only stores are checked")])
    findings = index_check.check_target(target, store, workspace.state, progress=progress)
    _show(findings)
    if mend and findings:
        count = index_check.mend_target(target, store, findings, workspace.state)
        click.echo(f"{count} objects will be written by `kiln index replicate {target}`")
    return findings


def _show(findings: Sequence[Any]) -> None:
    for finding in findings:
        click.echo(f"{finding.drift:<8} {finding.key}")


@index.command()
@click.argument("names", nargs=-1)
@click.option(
    "--minutes", type=click.FloatRange(min=0), metavar="N", help="Stop after N minutes; the next run goes on from there."
)
def replicate(names: Sequence[str], minutes: float | None) -> None:
    """Copy what changed on the site to every [[publish]] target of kiln.toml, or to NAMES.

    Each has its own note of what it has: a slow or failing one holds up no other, and catches up by itself. Exits with 5 when one
    could not be written.
    """
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.stages.inventory import take_snapshot
    from kiln_pipeline.stages.replicate import replicate as replicate_to

    end = None if minutes is None else time.monotonic() + 60 * minutes
    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        targets = _targets(workspace, names)
        with workspace.writing("site"):  # no publish in the middle of the snapshot; the copying needs none
            snapshot = take_snapshot(workspace.site, workspace.state)
        reports = replicate_to(
            snapshot,
            site=workspace.site,
            targets=targets,
            state=workspace.state,
            progress=progress,
            keep_going=lambda: end is None or time.monotonic() < end,
        )
    for report in reports:
        ending = report.problem or (f"{report.left} left for the next run" if report.left else "has all of the site")
        click.echo(f"{report.name}: {report.copied} copied ({report.copied_bytes:,} bytes), {report.removed} removed; {ending}")
    if any(report.problem for report in reports):
        sys.exit(StoreError.exit_code)


def _targets(workspace: Any, names: Sequence[str]) -> Mapping[str, Any]:
    targets: Mapping[str, Any] = workspace.publish_targets()
    problems = [
        Problem(file="kiln.toml", field="publish", message=f"has no target {name!r}") for name in names if name not in targets
    ]
    if not targets and not problems:
        problems.append(Problem(file="kiln.toml", field="publish", message="is missing: write one [[publish]] for each place"))
    if problems:
        raise RecipeError(problems)
    return {name: store for name, store in targets.items() if not names or name in names}
