"""What `kiln run` and `kiln missing` print: tables with reasons, outcomes, and the next step. Reads state; decides nothing."""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiln_pipeline.adapters.proof import install_and_import, top_level_modules
from kiln_pipeline.adapters.site_server import SiteServer
from kiln_pipeline.adapters.terminal import TerminalProgress
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import project_name
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.verdicts import Rule
from kiln_pipeline.errors import Problem, RecipeError, UpstreamError
from kiln_pipeline.ports import Progress
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.record import REASON, REFUSED
from kiln_pipeline.workspace import Workspace

LONGEST_PROOF = 160
"""Characters of a log line that the terminal shows; the log and the record have it whole."""
STYLES = {"missing": "yellow", "covered": "green", "published": "cyan", "excluded": "dim"}


def missing_rows(
    workspace: Workspace,
    projects: Sequence[str],
    platforms: Sequence[str],
    pythons: Sequence[str],
    rules: Sequence[str],
    *,
    everything: bool,
) -> tuple[list[dict[str, Any]], int]:
    """Ask upstream, compute, and return the rows that pass every filter, and how many projects upstream did not answer for.

    Raises `RecipeError` for a filter that cannot match.
    """
    tracked = {recipe.project for recipe in workspace.recipes}
    names: set[str] = set()
    problems: list[Problem] = []
    for name in projects:
        try:
            normalised = project_name(name)
        except ValueError as error:
            problems.append(Problem(file=name, field="", message=str(error)))
            continue
        names.add(normalised)
        if normalised not in tracked:
            hint = f"no recipe covers it: `kiln recipes new {normalised}` writes a starter"
            problems.append(Problem(file=name, field="", message=hint))
    unknown = [platform for platform in platforms if platform not in Platform.__members__.values()]
    problems += [Problem(file="--platform", field="", message=f"{name!r} is none of {', '.join(Platform)}") for name in unknown]
    known = [rule.value for rule in Rule]
    problems += [
        Problem(file="--reason", field="", message=f"{name!r} is none of {', '.join(known)}")
        for name in rules
        if name not in known
    ]
    if problems:
        raise RecipeError(problems)
    with workspace.writing("tables"):
        refreshed = detect.refresh(
            sorted(tracked),
            upstream=workspace.upstream,
            state=workspace.state,
            now=workspace.clock(),
            progress=workspace.progress,
            only=names or None,
        )
        broken = broken_projects(workspace.progress, refreshed.projects, names or tracked)
        attempts, demand = workspace.attempts(), workspace.demand
        table = detect.find_missing(workspace.recipes, attempts, state=workspace.state, now=workspace.clock(), demand=demand)
    rows = [
        row
        for row in table.to_pylist()
        if (everything or rules or row["verdict"] == "missing")
        and (not names or row["project"] in names)
        and (not platforms or row["platform"] in platforms)
        and (not pythons or row["python"] in pythons)
        and (not rules or row["rule"] in rules)
    ]
    return rows, broken


def missing_table(console: Console, rows: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Print one line per wanted wheel: what it is, the verdict, the reason, and where missing its place in the queue."""
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("release", "identifier", "verdict", "reason", "rank"):
        table.add_column(column, overflow="fold")
    for row in rows:
        style = STYLES.get(row["verdict"], "")
        verdict = f"[{style}]{row['verdict']}[/{style}]" if style else str(row["verdict"])
        rank = "" if row["rank"] is None else f"{row['rank']}: {row['rank_reason']}"
        table.add_row(f"{row['project']}=={row['version']}", row["identifier"], verdict, escape(row["reason"]), escape(rank))
    console.print(table)


def broken_projects(progress: Progress, projects: pa.Table, asked: Collection[str]) -> int:
    """Say which of the asked projects upstream did not answer for, since when, and why; return how many.

    Raises `UpstreamError` when there is none left to go on with.
    """
    rows = [row for row in projects.to_pylist() if row["project"] in asked and row["broken_since"] is not None]
    for row in rows:
        progress.step(f"broken since {row['broken_since']:%Y-%m-%d %H:%M} UTC: {row['project']}: {row['broken_reason']}")
    if rows and len(rows) == len(asked):
        subject = ", ".join(row["project"] for row in rows)
        raise UpstreamError(subject=subject, reason=str(rows[0]["broken_reason"]), hint="nothing was changed; try again later")
    return len(rows)


def refusals(console: Console, todo: Sequence[Any]) -> None:
    """Say which missing wheels this host cannot build, one line per reason."""
    reasons: dict[str, list[str]] = {}
    for item in todo:
        for missing, reason in item.refused:
            reasons.setdefault(reason, []).append(f"{missing.release} {missing.identifier}")
    for reason, wheels in reasons.items():
        console.print(f"[dim]not here:[/dim] {', '.join(wheels)}: {escape(reason)}", soft_wrap=True)


def outcome(
    progress: TerminalProgress,
    workspace: Workspace,
    asked: Any,
    attempts: Sequence[Attempt],
    *,
    new: Sequence[Attempt],
    prove: bool,
) -> int:
    """Print what was built, the proof and the next step; return how many of the new attempts failed."""
    console = progress.console
    for attempt in new:
        seconds = (attempt.finished - attempt.started).total_seconds()
        if attempt.outcome is Outcome.SUCCEEDED:
            console.print(f"[green]built[/green]  {attempt.wheel}  {seconds:.0f} s, {attempt.builder}", soft_wrap=True)
        else:
            proof = attempt.proof if len(attempt.proof) <= LONGEST_PROOF else attempt.proof[: LONGEST_PROOF - 1] + "…"
            why = escape(f"{attempt.failure}: {proof}")
            console.print(f"[red]failed[/red] {attempt.release} {attempt.identifier}  {seconds:.0f} s, {why}", soft_wrap=True)
    refused = [key for key in workspace.inbox.keys(REFUSED) if key.endswith(REASON)]
    for key in refused:
        why = workspace.inbox.get(key).decode("utf-8", "replace").strip()
        console.print(f"[red]refused[/red] bundle {key.split('/')[1][:12]}…: {escape(why)}", soft_wrap=True)
    if not new and not refused:
        own = f" for {', '.join(sorted(asked.pythons))} (--python all takes the others too)" if asked.pythons else ""
        console.print(
            f"nothing to build{own}: every wanted wheel that this host can build is there, or has been tried", soft_wrap=True
        )
    if prove:
        _prove(progress, workspace, asked, attempts, new)
    failed = sum(attempt.outcome is Outcome.FAILED for attempt in new)
    if failed:
        console.print(f"{failed} failed attempt(s) on record; logs: {workspace.site}, audit/logs", soft_wrap=True)
    console.print(
        "next: [bold]kiln up[/bold] shows it all in Dagster; [bold]kiln verify[/bold] .kiln/site/wheels/… follows a wheel back"
    )
    return failed


def _prove(
    progress: TerminalProgress, workspace: Workspace, asked: Any, attempts: Sequence[Attempt], new: Sequence[Attempt]
) -> None:
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    candidates = [
        attempt
        for attempt in (*reversed(new), *reversed(attempts))
        if attempt.wheel
        and asked.wants(attempt.release)
        and str(attempt.identifier.python) == own
        and attempt.identifier.platform == workspace.platform()
    ]
    if not candidates:
        progress.console.print(f"no wheel of ours for {own} on {workspace.platform()} to prove")
        return
    attempt = candidates[0]
    with SiteServer(workspace.served_site) as server:
        progress.step(f"proving {attempt.wheel}: pip installs it over HTTP in a throw-away environment")
        modules = top_level_modules(workspace.site.get(site_layout.wheel(attempt.wheel)))
        proof = install_and_import(attempt.release, filename=attempt.wheel, modules=modules, index_url=f"{server.url}simple/")
    progress.console.print(
        f"[green]proved[/green] {proof.command} took {attempt.wheel}; imported {proof.imported}", soft_wrap=True
    )
    lasting = f"{workspace.site_url}simple/"
    progress.console.print(f"site:  [bold]kiln serve[/bold] puts {workspace.site} on {workspace.site_url}", soft_wrap=True)
    progress.console.print(f"then:  pip install --index-url {lasting} {attempt.release}", soft_wrap=True)
