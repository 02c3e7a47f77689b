"""What `kiln explain` does: fetch one project's page, ask `core.explain`, and print the answer. It judges nothing itself."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiln_pipeline.cli.report import STYLES
from kiln_pipeline.core.distributions import FileKind, Release
from kiln_pipeline.core.explain import Explanation, as_listed, explain
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.verdicts import Verdict
from kiln_pipeline.errors import Problem, RecipeError
from kiln_pipeline.workspace import Workspace

_SERVES = {FileKind.WHEEL: "covers it", FileKind.SDIST: "can be built from"}


def explanation(workspace: Workspace, release: str, identifier: str) -> Explanation:
    """Explain one release (``grpcio==1.47.2``) × build identifier (``cp310-macosx_arm64``) of any upstream project.

    Where a recipe covers the project, what it asks for counts; elsewhere the default floors do. Raises `RecipeError` when an
    argument is malformed, naming both when both are, and `UpstreamError` when upstream does not answer or knows no such project.
    """
    problems: list[Problem] = []
    asked = parsed = None
    try:
        asked = Release.parse(release)
    except RecipeError as error:
        problems.extend(error.problems)
    try:
        parsed = BuildIdentifier.parse(identifier)
    except ValueError as error:
        problems.append(Problem(file="IDENTIFIER", field="", message=str(error)))
    if asked is None or parsed is None:
        raise RecipeError(problems)
    recipes = workspace.recipes if workspace.recipes_folder.is_dir() else ()  # anyone may ask, without a folder of recipes too
    recipe = next((recipe for recipe in recipes if recipe.project == asked.project), None)
    fetched = workspace.upstream.project_page(asked.project)
    assert fetched is not None, "a request without a validator is always answered"
    listed = as_listed(fetched.page, asked)
    return explain(fetched.page, listed, parsed, recipe=recipe, attempts=workspace.attempts(), now=workspace.clock())


def show(console: Console, answer: Explanation) -> None:
    """Print the verdict, the rule, the reason, and every file that was considered with what it lacks."""
    style = STYLES[answer.verdict.value]
    console.print(f"{answer.release} {answer.identifier}: [bold {style}]{answer.verdict}[/]", soft_wrap=True)
    console.print(f"  rule     {answer.rule}", soft_wrap=True)
    console.print(f"  reason   {escape(answer.reason)}", soft_wrap=True)
    if answer.verdict is Verdict.MISSING:
        console.print(f"  builder  cibuildwheel {answer.cibuildwheel}", soft_wrap=True)
    if not answer.considered:
        console.print("upstream lists no file of this release")
        return
    table = Table(title=f"{len(answer.considered)} upstream files considered", title_justify="left", box=None, pad_edge=False)
    for column in ("file", "kind", "lacks"):
        table.add_column(column, overflow="fold")
    for one in answer.considered:
        lacks = escape(one.lacks) if one.lacks else f"[green]nothing: {_SERVES[one.file.kind]}[/green]"
        table.add_row(escape(one.file.filename), one.file.kind.value, lacks)
    console.print(table)
