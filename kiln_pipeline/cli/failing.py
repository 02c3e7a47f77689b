"""What `kiln failures` does: the failures of wheels that are missing still, grouped and printed. Asks nobody, builds nothing."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiln_pipeline.cli.report import LONGEST_PROOF
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.distributions import project_name
from kiln_pipeline.core.failure_groups import FailureGroup, group_failures, of_classes, wanted_wheels
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.errors import Problem, RecipeError
from kiln_pipeline.stages import detect
from kiln_pipeline.workspace import Workspace

_PROJECTS_SHOWN = 4


def groups(workspace: Workspace, projects: Sequence[str], classes: Sequence[str]) -> tuple[FailureGroup, ...]:
    """Return the groups of the audit log's failures, for some projects and classes where given.

    What is missing still is what the last `kiln missing` (or the asset) found. Raises `RecipeError` for a name that cannot match.
    """
    recipes = workspace.recipes
    names, problems = set[str](), list[Problem]()
    for name in projects:
        try:
            names.add(project_name(name))
        except ValueError as error:
            problems.append(Problem(file=name, field="", message=str(error)))
    unknown = [name for name in classes if name not in FailureClass.__members__.values()]
    known = ", ".join(FailureClass)
    problems += [Problem(file="--class", field="", message=f"{name!r} is none of {known}") for name in unknown]
    problems += [
        Problem(file=name, field="", message="no recipe covers it, so that nothing of it is missing: see `kiln recipes check`")
        for name in sorted(names - {recipe.project for recipe in recipes})
    ]
    if problems:
        raise RecipeError(problems)
    asked = [recipe for recipe in recipes if not names or recipe.project in names]
    wanted = wanted_wheels(detect.load_missing(workspace.state), asked)
    return of_classes(group_failures(workspace.attempts(), wanted, now=workspace.clock()), classes)


def as_dicts(found: Sequence[FailureGroup], site_url: str) -> list[dict[str, Any]]:
    """Return the groups for programs."""
    return [
        {
            "class": group.failure_class,
            "part": group.part,
            "sentence": group.sentence,
            "wheels": [f"{release} {identifier}" for release, identifier in group.wheels],
            "projects": group.projects,
            "due": group.due,
            "next_try": group.next_try.isoformat() if group.next_try else None,
            "retry": group.retry,
            "example": {
                "wheel": f"{group.example.release} {group.example.identifier}",
                "proof": group.example.proof,
                "finished": group.example.finished.isoformat(),
                "log": site_url + site_layout.build_log(group.example.log_sha256),
            },
        }
        for group in found
    ]


def show(console: Console, found: Sequence[FailureGroup], site_url: str) -> None:
    """Print each group: the sentence, the projects, when it is tried again, and one line of one log with its address."""
    if not found:
        console.print("no failure of a missing wheel is on record")
        return
    for group in found:
        more = len(group.projects) - _PROJECTS_SHOWN
        projects = ", ".join(group.projects[:_PROJECTS_SHOWN]) + (f" and {more} more" if more > 0 else "")
        proof = group.example.proof
        proof = proof if len(proof) <= LONGEST_PROOF else f"{proof[:LONGEST_PROOF]}…"
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim", min_width=8)
        table.add_column(overflow="fold")
        table.add_row("class", group.failure_class)
        table.add_row("projects", escape(projects))
        table.add_row("retry", escape(group.retry))
        table.add_row("example", escape(f"{group.example.release} {group.example.identifier}: {proof}"))
        table.add_row("log", escape(site_url + site_layout.build_log(group.example.log_sha256)))
        console.print(f"[bold]{escape(group.sentence)}[/bold]", soft_wrap=True)
        console.print(table)
    count = sum(len(group.wheels) for group in found)
    console.print(f"{count} missing wheel{'' if count == 1 else 's'} with a failure on record, {len(found)} reasons")
