"""What `kiln lock-check` does: read the lock, ask the stage, print the report and the way to our index. It judges nothing."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiln_pipeline.adapters.lock_folder import read_lock
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.lockfiles.installer_config import installer_config
from kiln_pipeline.core.lockfiles.outlook import LockLine, Outlook
from kiln_pipeline.core.platforms import BuildIdentifier, Floors
from kiln_pipeline.errors import Problem, RecipeError
from kiln_pipeline.stages import lock_check
from kiln_pipeline.stages.lock_check import LockReport
from kiln_pipeline.workspace import Workspace

_SYSTEM = re.compile(r"(?P<major>\d{1,3})(\.(?P<minor>\d{1,3}))?", re.ASCII)
_HEADINGS = {
    Outlook.PUBLISHED: "[cyan]our index has[/cyan]",
    Outlook.FILLABLE: "[yellow]would compile; a recipe could fill it[/yellow]",
    Outlook.UNFILLABLE: "[red]would compile or fail; nothing can fill it[/red]",
}


def check(
    workspace: Workspace, file: Path, targets: Sequence[str], index_url: str | None, systems: Mapping[str, str | None]
) -> LockReport:
    """Read `file` and check it for `targets` on `systems` (``macos``, ``glibc``, ``musl`` -> version, None for the floor).

    Raises `RecipeError` with every wrong target and version, or for the lock.
    """
    identifiers: list[BuildIdentifier] = []
    problems: list[Problem] = []
    for target in targets:
        try:
            identifiers.append(BuildIdentifier.parse(target))
        except ValueError as error:
            problems.append(Problem(file="--target", field="", message=str(error)))
    known: dict[str, tuple[int, int]] = {}
    for system, text in systems.items():
        match = _SYSTEM.fullmatch(text or "")
        if match:
            known[system] = (int(match["major"]), int(match["minor"] or 0))
        elif text is not None:
            problems.append(Problem(file=f"--{system}", field="", message=f"{text!r} is no version: write for example 14.0"))
    if problems:
        raise RecipeError(problems)
    return lock_check.check(
        read_lock(file),
        identifiers,
        upstream=workspace.upstream,
        ours=SimpleApiUpstream(index_url) if index_url else None,
        recipes=workspace.recipes if workspace.recipes_folder.is_dir() else (),  # an end user has none
        attempts=workspace.attempts(),
        floors=_floors(known) if known else None,
        now=workspace.clock(),
        progress=workspace.progress,
    )


def _floors(known: Mapping[str, tuple[int, int]]) -> Floors:
    default = Floors()
    return Floors(
        macosx_arm64=known.get("macos", default.macosx_arm64),
        macosx_x86_64=known.get("macos", default.macosx_x86_64),
        glibc=known.get("glibc", default.glibc),
        musl=known.get("musl", default.musl),
    )


def config_for(report: LockReport, index_url: str) -> str:
    """Return the snippet for what our index has, else for what a recipe could fill; empty when neither has anything."""
    lines = report.from_us or tuple(line for line in report.lines if line.outlook is Outlook.FILLABLE)
    if not lines:
        return ""
    hashes: defaultdict[Release, list[str]] = defaultdict(list)
    for line in lines:
        if line.sha256:
            hashes[line.release].append(line.sha256)
    releases, platforms = [line.release for line in lines], [line.identifier.platform for line in lines]
    return installer_config(report.lock.installer, index_url, releases, platforms, hashes=hashes)


def as_dict(report: LockReport, config: str) -> dict[str, Any]:
    """Return what ``--json`` prints; keys are stable."""
    targets = {
        str(target): {
            outlook.value: [_line(line) for line in report.lines if line.identifier == target and line.outlook is outlook]
            for outlook in Outlook
        }
        for target in report.targets
    }
    return {
        "file": report.lock.file,
        "installer": report.lock.installer.value,
        "verdict": "clean" if report.clean else "compiles",
        "targets": targets,
        "elsewhere": [{"project": p.project, "version": p.version, "source": p.source} for p in report.elsewhere],
        "unpinned": list(report.lock.unpinned),
        "notes": list(report.lock.notes),
        "config": config,
    }


def _line(line: LockLine) -> dict[str, Any]:
    return {**asdict(line), "release": str(line.release), "identifier": str(line.identifier), "outlook": line.outlook.value}


def show(console: Console, report: LockReport, config: str) -> None:
    """Print the report for people."""
    for target in report.targets:
        _show_target(console, target, [line for line in report.lines if line.identifier == target])
    for title, entries in (
        ("from elsewhere, kiln has no say", [f"{p.project} {p.version} {p.source}" for p in report.elsewhere]),
        ("not pinned, so not known", report.lock.unpinned),
        ("note", report.lock.notes),
    ):
        for entry in entries:
            console.print(f"{title}: {escape(entry)}", soft_wrap=True)
    if config:
        when = "installer configuration" if report.from_us else "installer configuration, once the gaps are filled"
        console.print(f"\n[bold]{when} ({report.lock.installer})[/bold]", soft_wrap=True)
        console.print(escape(config), end="", soft_wrap=True)


def _show_target(console: Console, target: BuildIdentifier, lines: Sequence[LockLine]) -> None:
    counts = Counter(line.outlook for line in lines)
    said = ", ".join(f"{counts[outlook]} {outlook}" for outlook in Outlook if counts[outlook])
    console.print(f"[bold]{target}[/bold]: {len(lines)} releases: {said or 'nothing'}", soft_wrap=True)
    for outlook, heading in _HEADINGS.items():
        chosen = [line for line in lines if line.outlook is outlook]
        if not chosen:
            continue
        table = Table(title=heading, title_justify="left", box=None, pad_edge=False, show_header=False, padding=(0, 2))
        for _ in range(3):
            table.add_column(overflow="fold")
        for line in chosen:
            compiler = "needs a compiler" if line.extension and outlook is not Outlook.PUBLISHED else ""
            table.add_row(f"  {line.release}", escape(line.reason), escape("; ".join(filter(None, (compiler, line.step)))))
        console.print(table)
