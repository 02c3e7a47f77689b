"""The container engine of this host: which one answers, what it can bound, and that no container outlives its build."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from kiln_pipeline.adapters.processes import capture
from kiln_pipeline.adapters.running_builds import RunningBuilds

_TOKEN = re.compile(r"\bkiln\.build[:=]([0-9a-f]{16})\b")  # podman writes a map, docker a list


def engine_that_answers(stated: str, environment: Mapping[str, str]) -> str:
    """Return the engine that cibuildwheel's setting `stated` names, or without one the first; empty when it does not answer."""
    named = stated.split(";")[0].strip()
    candidates = (named,) if named else ("docker", "podman")
    return next((name for name in candidates if capture([name, "info"], environment=environment) is not None), "")


class ContainerEngine:
    """docker or podman, asked once each and remembered."""

    def __init__(self, stated: str, *, environment: Mapping[str, str], running: Path) -> None:
        """`stated` is cibuildwheel's own setting, empty for the first that answers; `running` holds a file for each build."""
        self._stated, self._environment = stated, environment
        self._builds = RunningBuilds(running)

    @cached_property
    def name(self) -> str:
        """The engine that answers, or an empty string."""
        return engine_that_answers(self._stated, self._environment)

    @cached_property
    def controllers(self) -> frozenset[str]:
        """The control groups that the engine says it has; podman lists them, docker has a flag for each."""
        podman = capture([self.name, "info", "--format", "{{.Host.CgroupControllers}}"], environment=self._environment)
        if podman is not None:
            return frozenset(podman.strip("[] \n").split())
        question = "{{.MemoryLimit}} {{.PidsLimit}} {{.CPUCfsQuota}}"
        docker = (capture([self.name, "info", "--format", question], environment=self._environment) or "").split()
        return frozenset(name for name, has in zip(("memory", "pids", "cpu"), docker, strict=False) if has == "true")

    @contextmanager
    def labelled(self) -> Iterator[list[str]]:
        """Yield the labels of a build's container; whatever container has the first is removed in the end."""
        self.remove_leftovers()
        with self._builds.running() as token:
            try:
                yield [f"kiln.build={token}", f"kiln.home={self._builds.home}"]
            finally:
                self._remove_containers(token)

    def remove_leftovers(self) -> None:
        """Remove the containers of builds whose kiln was killed: they would run to their end, for nobody."""
        home = f"label=kiln.home={self._builds.home}"
        command = [self.name, "ps", "--all", "--filter", home, "--format", "{{.Labels}}"]
        for token in self._builds.dead(set(_TOKEN.findall(capture(command, environment=self._environment) or ""))):
            self._remove_containers(token)

    def _remove_containers(self, token: str) -> None:
        label = f"label=kiln.build={token}"
        listed = capture([self.name, "ps", "--all", "--quiet", "--filter", label], environment=self._environment)
        if listed and listed.split():
            capture([self.name, "rm", "--force", "--volumes", *listed.split()], environment=self._environment)
