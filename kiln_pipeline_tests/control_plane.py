"""A whole control plane and build hosts for tests, each a process of its own as in a deployment: nothing in it is a stand-in.

PostgreSQL, Redis, Dagster's code server, daemon and web server with deploy/control-plane/dagster.yaml; hosts are
`kiln host run`, each with a home, a working folder, a name and an environment of its own. One of them stands for a Mac: no Mac
ran, and nothing is compiled.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kiln_pipeline_tests.postgres_server import PostgresServer, free_port
from kiln_pipeline_tests.redis_server import RedisServer

REPOSITORY = Path(__file__).parents[1]
_LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } }
} }"""
_BACKFILL = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
} }"""
_TERMINATE = """
mutation ($id: String!, $policy: TerminateRunPolicy!) { terminateRun(runId: $id, terminatePolicy: $policy) {
  __typename ... on PythonError { message }
} }"""
_RUNS = """
query ($tags: [ExecutionTag!]) { runsOrError(filter: {tags: $tags}) { ... on Runs { results {
  runId status jobName parentRunId tags { key value }
} } } }"""
_EVENTS = """
query ($id: ID!) { logsForRun(runId: $id) {
  ... on EventConnection { events { __typename ... on MessageEvent { message } } } } }"""
_START_SCHEDULE = "mutation ($selector: ScheduleSelector!) { startSchedule(scheduleSelector: $selector) { __typename } }"
_START_SENSOR = "mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }"
REPOSITORY_OF = {"repositoryName": "__repository__", "repositoryLocationName": "kiln"}


def until(what: str, look: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Return what `look` returns once that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.25)
    raise AssertionError(f"not within {seconds} seconds: {what}")


class Started:
    """A process in a group of its own, with a log."""

    def __init__(self, command: list[str], *, cwd: Path, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(environment),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def stop(self, *, seconds: float = 30) -> None:
        """SIGTERM to the process, and SIGKILL to its group after a while."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill(self) -> None:
        """SIGKILL to the process alone."""
        self.process.kill()
        self.process.wait()


class BuildHost(Started):
    """`kiln host run` in a working folder of its own."""

    def __init__(self, plane: "ControlPlane", name: str, *platforms: str, **more: str) -> None:
        self.folder = plane.folder / name
        if not (self.folder / "workspace.yaml").exists():
            plane.lay_out(self.folder)
        chosen = [word for platform in platforms for word in ("--platform", platform)]
        environment = plane.environment(KILN_HOME=str(self.folder / "home"), KILN_HOST=name, KILN_BEAT_SECONDS="0.5", **more)
        environment.pop("DAGSTER_HOME")
        super().__init__(
            [*KILN, "host", "run", *chosen], cwd=self.folder, environment=environment, log=plane.folder / f"{name}.log"
        )


KILN = [sys.executable, "-c", "from kiln_pipeline.cli import main; main()"]


class ControlPlane:
    """A context manager; `folder` holds recipes, stores and logs."""

    def __init__(
        self, folder: Path, *, upstream: str, recipes: Path, module: str = "kiln_pipeline_tests.hosted_definitions"
    ) -> None:
        self.folder, self.upstream, self.recipes, self.module = folder, upstream, recipes, module
        self._stack = ExitStack()
        self.hosts: list[BuildHost] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.postgres = stack.enter_context(PostgresServer())
            self.redis = stack.enter_context(RedisServer(self.folder / "redis"))
            home = self.folder / "dagster"
            home.mkdir(parents=True)
            text = (REPOSITORY / "deploy" / "control-plane" / "dagster.yaml").read_text()
            home.joinpath("dagster.yaml").write_text(text.replace("poll_interval_seconds: 30", "poll_interval_seconds: 2"))
            self.working = self.folder / "control-plane"
            self.lay_out(self.working)
            grpc, self.port = free_port(), free_port()
            (self.working / "workspace.yaml").write_text(
                f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {grpc}, location_name: kiln}}\n"
            )
            dagster = [sys.executable, "-m", "dagster"]
            code = ["api", "grpc", "-m", self.module, "-h", "127.0.0.1", "-p", str(grpc)]
            self.code_server = self._start(stack, "code-server", [*dagster, *code])
            self.daemon = self._start(stack, "daemon", [*dagster[:2], "dagster._daemon", "run", "-w", "workspace.yaml"])
            web = ["dagster_webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(self.port)]
            self.webserver = self._start(stack, "webserver", [*dagster[:2], *web])
            stack.callback(lambda: [host.stop() for host in self.hosts])
            until("the web server knows the code", self._is_loaded, seconds=90)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def lay_out(self, folder: Path) -> None:
        """Lay out what a clone holds besides the package."""
        (folder / "deploy" / "build-host").mkdir(parents=True)
        for name in ("workspace.yaml", "deploy/build-host/dagster.yaml"):
            shutil.copy(REPOSITORY / name, folder / name)

    def environment(self, **more: str) -> dict[str, str]:
        """Return what every process of the deployment is given."""
        host = {
            name: value for name, value in os.environ.items() if not name.startswith(("KILN_", "DAGSTER_", "PYTHONDONTWRITE"))
        }
        own = {
            "KILN_DATABASE": self.postgres.url,
            "KILN_BROKER": self.redis.url,
            "KILN_UPSTREAM": self.upstream,
            "KILN_RECIPES": str(self.recipes),
            "KILN_HOSTS": str(self.folder / "hosts.toml"),
            "KILN_TEST_FOLDER": str(self.folder),
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(REPOSITORY),
            **{f"KILN_{name.upper()}": str(self.folder / name) for name in ("site", "inbox", "state")},
        }
        return {**host, **own, **more}

    def _start(self, stack: ExitStack, name: str, command: list[str]) -> Started:
        environment = self.environment(KILN_HOME=str(self.folder / "home"), KILN_HOST="control-plane")
        started = Started(command, cwd=self.working, environment=environment, log=self.folder / f"{name}.log")
        stack.callback(started.stop, seconds=10)
        return started

    def host(self, name: str, *platforms: str, **more: str) -> BuildHost:
        """Start a host, and wait until it gives signs of life."""
        host = BuildHost(self, name, *platforms, **more)
        self.hosts.append(host)
        until(f"{name} is there", lambda: host.process.poll() is not None or f"kiln@{name} ready" in host.log.read_text())
        assert host.process.poll() is None, host.log.read_text()
        return host

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask the web server as the interface in a browser does."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            told = json.loads(answer.read())
        assert "errors" not in told, told
        return told["data"]

    def _is_loaded(self) -> bool:
        for process in (self.code_server, self.daemon, self.webserver):
            assert process.process.poll() is None, process.log.read_text()
        try:
            told = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }")
        except OSError:
            return False
        return bool(told["repositoriesOrError"].get("nodes"))

    def launch(
        self, release: str, platform: str, *, pythons: list[str] | None = None, tags: Mapping[str, str] | None = None
    ) -> str:
        """Materialise one partition of `wheels`, as the interface's button does; return the run's id."""
        partition = {
            "dagster/partition": f"{platform}|{release}",
            "dagster/partition/platform": platform,
            "dagster/partition/release": release,
        }
        return self.launch_job(
            "__ASSET_JOB",
            assets=["wheels"],
            tags={**partition, **(tags or {})},
            config={"ops": {"wheels": {"config": {"pythons": pythons or []}}}},
        )

    def launch_job(self, job: str, *, assets: list[str] | None = None, tags: Mapping[str, str], config: Any = None) -> str:
        selector: dict[str, Any] = {**REPOSITORY_OF, "jobName": job}
        if assets:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
        params = {
            "selector": selector,
            "runConfigData": config or {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        told = self.ask(_LAUNCH, params=params)["launchRun"]
        assert told["__typename"] == "LaunchRunSuccess", told
        return told["run"]["runId"]

    def backfill(self, *partitions: str) -> str:
        told = self.ask(_BACKFILL, params={"assetSelection": [{"path": ["wheels"]}], "partitionNames": list(partitions)})
        assert told["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", told
        return told["launchPartitionBackfill"]["backfillId"]

    def terminate(self, run_id: str, *, policy: str = "SAFE_TERMINATE") -> None:
        told = self.ask(_TERMINATE, id=run_id, policy=policy)["terminateRun"]
        assert told["__typename"] == "TerminateRunSuccess", told

    def start_schedule(self, name: str) -> None:
        self.ask(_START_SCHEDULE, selector={**REPOSITORY_OF, "scheduleName": name})

    def start_sensor(self, name: str) -> None:
        self.ask(_START_SENSOR, selector={**REPOSITORY_OF, "sensorName": name})

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """Return runs with these tags (``_`` for ``/``), newest first, each with its tags as a dictionary."""
        asked = [{"key": key.replace("__", "/"), "value": value} for key, value in tags.items()]
        found = self.ask(_RUNS, tags=asked)["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def run(self, run_id: str) -> dict[str, Any]:
        told = self.ask("query ($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value } } } }", id=run_id)
        run = told["runOrError"]
        return {"status": run["status"], "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}

    def events(self, run_id: str) -> list[str]:
        return [str(event.get("message")) for event in self.ask(_EVENTS, id=run_id)["logsForRun"]["events"]]

    def ends(self, run_id: str, status: str, *, seconds: float = 60) -> dict[str, Any]:
        """Wait for the end of a run, and return it."""
        final = ("SUCCESS", "FAILURE", "CANCELED")
        try:
            run = until(f"the end of run {run_id}", lambda: (one := self.run(run_id))["status"] in final and one, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.run(run_id)}\n" + "\n".join(self.events(run_id))) from None
        assert run["status"] == status, "\n".join([str(run), *self.events(run_id)])
        return run
