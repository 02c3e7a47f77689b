"""What the commands share: one error style, exit codes, the workspace of the folder they start in. No command is here."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from kiln_pipeline.errors import KilnError, Problem, RecipeError

SOME_BUILDS_FAILED = 10
INTERRUPTED = 130
PORT, UI_PORT = 8765, 3000
PORTS = click.IntRange(1, 65535)


class Commands(click.Group):
    """A group whose commands end in one clear error and its exit code, never in a traceback, when kiln raises on purpose."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KilnError as error:
            for line in str(error).splitlines():
                click.echo(f"kiln: {line}", err=True)
            ctx.exit(error.exit_code)
        except BaseException as error:
            # Dagster turns a signal into an exception of its own, which only some subcommands import
            if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "DagsterExecutionInterruptedError":
                click.echo("kiln: interrupted: what was recorded is kept, and the next run goes on from there", err=True)
                ctx.exit(INTERRUPTED)
            raise

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Say what click refuses in the style of all other errors: `kiln: what is wrong`, then where to read on."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            click.echo(f"kiln: {error.format_message()}", err=True)
            context = getattr(error, "ctx", None)
            if context is not None:
                click.echo(f"kiln: see `{context.command_path} --help`", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(self.commands)  # in the order of a maintainer's day, not of the alphabet


def open_workspace(**replacements: Any) -> Any:
    """Return the workspace of the current folder and environment; imported late, for `--help` must be quick."""
    from kiln_pipeline.workspace import Workspace

    return Workspace.from_environment(Path.cwd(), os.environ, **replacements)


def check_pythons(tags: Sequence[str]) -> None:
    """Refuse what no known cibuildwheel builds for.

    Raises:
        RecipeError: every tag that is none.

    """
    from kiln_pipeline.core.platforms import PythonTag, all_identifiers

    problems: list[Problem] = []
    known = {identifier.python for identifier in all_identifiers()}
    for tag in tags:
        try:
            if PythonTag.parse(tag) not in known:
                raise ValueError(f"no cibuildwheel that kiln knows builds for {tag!r}")
        except ValueError as error:
            problems.append(Problem(file="--python", field="", message=str(error)))
    if problems:
        raise RecipeError(problems)


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a command the way Ctrl-C does: with its clean-up."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
