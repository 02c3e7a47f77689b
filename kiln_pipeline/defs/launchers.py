"""Which launcher a run belongs to: by the platform of its partition, else the default one. No run is executed here.

    run_launcher:
      module: kiln_pipeline.defs.launchers
      class: RoutedRunLauncher
      config:
        routes:
          - platforms: [macosx_arm64, macosx_x86_64]
            launcher: {module: kiln_pipeline.defs.celery_launcher, class: CeleryRunLauncher, config: {broker: {env: KILN_BROKER}}}
        default: {module: dagster, class: DefaultRunLauncher}

Any launcher can be a route; nothing here needs the extra `hosts`.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import dagster as dg
import yaml
from dagster import _check as check
from dagster._config import UserConfigSchema
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.signs_of_life import SignOfLife

PLATFORM_TAG = "dagster/partition/platform"
"""Every launch path puts it on a run of one partition of `wheels`; ours on batches too."""
RANGE_TAG = "dagster/asset_partition_range_start"
"""On a run of several partitions at once, whose platforms may differ."""
HOST_TAG = "kiln/host"
"""The host that took the run; there once it was taken."""
_LAUNCHER = {"module": str, "class": str, "config": dg.Field(dg.Permissive(), is_required=False, default_value={})}


class QueueLauncher(RunLauncher[dg.DagsterInstance]):
    """A launcher that puts runs where build hosts come and take them."""

    @abstractmethod
    def live_hosts(self) -> tuple[SignOfLife, ...]:
        """Return the hosts that gave a sign of life lately. Raises `StoreError` when that cannot be known."""

    @abstractmethod
    def lost(self, runs: Iterable[dg.DagsterRun]) -> list[dg.DagsterRun]:
        """Return those of the runs, all launched and none started, that no host will ever take. Raises `StoreError`."""

    @abstractmethod
    def send(self, run: dg.DagsterRun) -> bool:
        """Put a run, again, where hosts take it from, and say whether that worked. Sent twice it starts once."""


class RoutedRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Hands each run to the launcher that is configured for its platform, every other run to the default one."""

    def __init__(
        self, routes: Sequence[Mapping[str, Any]], default: Mapping[str, Any], inst_data: ConfigurableClassData | None = None
    ) -> None:
        self._inst_data = inst_data
        self._default = _launcher(default)
        self._routes: dict[str, RunLauncher[dg.DagsterInstance]] = {}
        for route in routes:
            launcher = _launcher(route["launcher"])
            for platform in route["platforms"]:
                check.invariant(platform in Platform.__members__.values(), f"{platform!r} is none of {', '.join(Platform)}")
                check.invariant(platform not in self._routes, f"{platform} has two routes")
                self._routes[platform] = launcher
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        default = {"module": "dagster", "class": "DefaultRunLauncher", "config": {}}
        return {
            "routes": dg.Field(
                [{"platforms": [str], "launcher": _LAUNCHER}], description="Who launches the runs of which platforms."
            ),
            "default": dg.Field(_LAUNCHER, is_required=False, default_value=default, description="Who launches all other runs."),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    @property
    def platforms(self) -> frozenset[str]:
        """The platforms that have a route."""
        return frozenset(self._routes)

    def route(self, run: dg.DagsterRun) -> RunLauncher[dg.DagsterInstance]:
        """Return the launcher that `run` belongs to."""
        return self._routes.get(run.tags.get(PLATFORM_TAG, ""), self._default)

    def live_hosts(self) -> tuple[SignOfLife, ...]:
        """Return the hosts behind all queues that gave a sign of life lately. Raises `StoreError`."""
        queues = [launcher for launcher in self._launchers if isinstance(launcher, QueueLauncher)]
        return tuple(sign for launcher in queues for sign in launcher.live_hosts())

    @property
    def _launchers(self) -> list[RunLauncher[dg.DagsterInstance]]:
        return list({id(launcher): launcher for launcher in [*self._routes.values(), self._default]}.values())

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        super().register_instance(instance)
        for launcher in self._launchers:
            launcher.register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        # raising here is how a run comes to be failed, with this as its reason
        check.invariant(
            RANGE_TAG not in run.tags or PLATFORM_TAG in run.tags,
            "one run for a range of partitions belongs to no host: launch a backfill of one run per partition instead",
        )
        self.route(run).launch_run(context)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        return run is not None and self.route(run).terminate(run_id)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        launcher = self.route(run)
        if launcher.supports_check_run_worker_health:
            return launcher.check_run_worker_health(run)
        return CheckRunHealthResult(WorkerStatus.RUNNING, "not known: its launcher does not say")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        return self.route(run).get_run_worker_debug_info(run, include_container_logs)

    def dispose(self) -> None:
        for launcher in self._launchers:
            launcher.dispose()

    def join(self, timeout: int = 30) -> None:
        for launcher in self._launchers:
            launcher.join(timeout)


def _launcher(config: Mapping[str, Any]) -> RunLauncher[dg.DagsterInstance]:
    """Make a launcher of ``{module, class, config}``, the form of dagster.yaml."""
    data = ConfigurableClassData(config["module"], config["class"], yaml.safe_dump(dict(config.get("config") or {})))
    return data.rehydrate(as_type=RunLauncher)
