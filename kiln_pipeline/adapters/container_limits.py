"""A build's limits in a container: what the engine is asked for, what is set inside, and what then holds. Runs nothing.

The last matters: an engine without control groups takes ``--memory`` and forgets it. So the container reads its own control
group and resource limits before anything else runs, and the statement says what it read. Resource limits are set inside, since
an engine that is given one forgets its configured ones.
"""

import json
import re
import shlex
from collections.abc import Mapping

from kiln_pipeline.core.limits import EACH, NOT_ENFORCED, TOGETHER, Limits

_PROGRAM = """
import json, os, resource, sys
wanted = json.loads(sys.argv[1])
kinds = {"memory": resource.RLIMIT_DATA, "file_size": resource.RLIMIT_FSIZE, "cpu_time": resource.RLIMIT_CPU}
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name, kind in kinds.items():
        try:
            hard = resource.prlimit(int(pid), kind)[1]
            limit = wanted[name] if hard < 0 else min(wanted[name], hard)
            resource.prlimit(int(pid), kind, (limit, limit))
        except OSError:
            pass
def first(*paths):
    for path in paths:
        try:
            return open("/sys/fs/cgroup/" + path).read().split()[0]
        except (OSError, IndexError):
            pass
    return ""
print("kiln: in force: " + json.dumps({
    "groups": {
        "memory": first("memory.max", "memory/memory.limit_in_bytes"),
        "processes": first("pids.max", "pids/pids.max"),
        "cpus": first("cpu.max", "cpu/cpu.cfs_quota_us"),
    },
    "each": {name: resource.prlimit(1, kind)[0] for name, kind in kinds.items()},
}, sort_keys=True), flush=True)
"""
"""Limits every process there is, the shell that starts all others included, and says what holds: control groups of version 2
or 1, then resource limits."""

_REPORT = re.compile(r"^kiln: in force: (\{.*\})$", re.MULTILINE)
_CPU_PERIOD = 100_000
"""Microseconds: the period of a control group's quota that engines choose."""


def create_arguments(limits: Limits, *, controllers: frozenset[str]) -> list[str]:
    """Return the arguments for ``docker create`` and ``podman create`` alike; `controllers` are the control groups that work.

    The engine keeps no log of its own beside ours, which is bounded, and of root's powers a build needs neither raw sockets nor
    devices.
    """
    arguments = ["--log-driver=none", "--security-opt=no-new-privileges", "--cap-drop=NET_RAW", "--cap-drop=MKNOD"]
    if "memory" in controllers:
        arguments += [f"--memory={limits.memory}b", f"--memory-swap={limits.memory}b"]
    if "pids" in controllers:
        arguments.append(f"--pids-limit={limits.processes}")
    if "cpu" in controllers and limits.cpus:
        arguments.append(f"--cpus={limits.cpus}")
    return arguments


def limit_command(limits: Limits) -> str:
    """Return the shell command that runs before all others in a container; its Python is any of 3.7 and later."""
    wanted = {"memory": limits.memory, "file_size": limits.file_size, "cpu_time": limits.cpu_time}
    return f"python -I -S -c {shlex.quote(_PROGRAM)} {shlex.quote(json.dumps(wanted))}"


def enforced_in(log: str, limits: Limits) -> Mapping[str, str]:
    """Return limit -> how it was held, from what the container said in `log`; a container that said nothing held nothing."""
    match = _REPORT.search(log)  # the first: what a build prints later, it prints after that
    said = json.loads(match[1]) if match else {"groups": {}, "each": {}}

    def together(name: str, limit: int) -> bool:
        value = said["groups"].get(name, "")
        return value.isdigit() and int(value) <= limit

    def each(name: str, limit: int) -> bool:
        return 0 <= said["each"].get(name, -1) <= limit

    return {
        "memory": TOGETHER if together("memory", limits.memory) else EACH if each("memory", limits.memory) else NOT_ENFORCED,
        "cpus": TOGETHER if together("cpus", limits.cpus * _CPU_PERIOD) else NOT_ENFORCED,
        "time": TOGETHER,
        "cpu_time": EACH if each("cpu_time", limits.cpu_time) else NOT_ENFORCED,
        "processes": TOGETHER if together("processes", limits.processes) else NOT_ENFORCED,
        "file_size": EACH if each("file_size", limits.file_size) else NOT_ENFORCED,
        "disk": NOT_ENFORCED,
        "log": TOGETHER,
    }
