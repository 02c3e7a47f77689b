"""kiln's definitions for the tests with many hosts: the real ones, with a builder that compiles nothing.

KILN_TEST_FOLDER   `seconds` in it is how long a build takes; the process of the last one is in `pid`
KILN_TEST_CLOCK    seconds that this host's clock is off
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from kiln_pipeline.adapters.processes import Children, run_logged
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.definitions import assemble
from kiln_pipeline.defs.assets.wheels import wheels
from kiln_pipeline.defs.partitions import partition_key
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.fakes import ScriptedBuilder


class SleepingBuilder(ScriptedBuilder):
    """Makes wheels from nothing after a child process, held as the real builders hold theirs, has slept."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._children = folder, Children()

    def cancel(self) -> None:
        self._children.cancel()

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        seconds = (self._folder / "seconds").read_text()
        command = ["/bin/sh", "-c", 'echo $$ >"$1"; exec sleep "$2"', "build", self._folder / "pid", seconds]
        run_logged(command, cwd=work, environment={"PATH": os.environ["PATH"]}, log=log, children=self._children)
        return super().build(plan, sdist, work=work, log=log)


@dg.schedule(target=dg.AssetSelection.assets(wheels), cron_schedule="* * * * *")
def every_minute() -> dg.RunRequest | dg.SkipReason:
    """kiln has no schedule of its own that builds; a user's may. This one asks once."""
    due = Path(os.environ["KILN_TEST_FOLDER"], "due")
    if not due.exists():
        return dg.SkipReason("nothing is due")
    due.unlink()
    key = partition_key(Release(project="markupsafe", version="2.0.1"), Platform.MACOSX_ARM64)
    return dg.RunRequest(run_key="once", partition_key=key, tags={"asked by": "schedule"})


def definitions(environment: Mapping[str, str]) -> dg.Definitions:
    off = timedelta(seconds=int(environment.get("KILN_TEST_CLOCK", "0")))
    kiln = replace(
        Workspace.from_environment(Path.cwd(), environment),
        builders=(SleepingBuilder(Path(environment["KILN_TEST_FOLDER"])),),
        clock=lambda: datetime.now(UTC) + off,
    )
    own: Any = assemble(kiln)
    return dg.Definitions.merge(own, dg.Definitions(schedules=[every_minute]))


defs = definitions(os.environ)
