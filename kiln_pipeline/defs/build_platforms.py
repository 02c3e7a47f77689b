"""Which platforms builds are asked for here, and how many of each are on their way. Asks for nothing itself."""

import dagster as dg

from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.defs.launchers import PLATFORM_TAG, RoutedRunLauncher
from kiln_pipeline.defs.ticks import IN_FLIGHT
from kiln_pipeline.errors import BuildError
from kiln_pipeline.workspace import Workspace


def built_here(kiln: Workspace, instance: dg.DagsterInstance) -> list[Platform]:
    """Return the platforms that this instance builds for: its own, and those of its build hosts where runs are routed to them.

    A host counts by its enrolment, so that work for one that is away waits where people see it; where nobody is enrolled by
    file, by its sign of life. Raises `BuildError` when there are none, `StoreError` when the broker does not answer.
    """
    router = instance.run_launcher
    if not isinstance(router, RoutedRunLauncher):
        return [kiln.platform()]
    if kiln.hosts_file is None:
        served = {name for sign in router.live_hosts() for name in sign.platforms}
    else:
        served = {str(name) for host in kiln.hosts.values() if host.revoked is None for name in host.platforms}
    found = {name for name in served if name in router.platforms}
    try:
        own = kiln.platform()
    except BuildError:
        own = None
    if own is not None and own not in router.platforms:
        found.add(own)
    return [platform for platform in Platform if platform in found]


def builds_under_way(instance: dg.DagsterInstance, platform: Platform) -> int:
    """Return how many runs of one platform are queued, waiting for a host, or running."""
    return instance.get_runs_count(dg.RunsFilter(statuses=IN_FLIGHT, tags={PLATFORM_TAG: platform.value}))
