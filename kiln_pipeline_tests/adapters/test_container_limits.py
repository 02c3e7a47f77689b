"""Limits in containers: the engine's arguments, and what a container says of itself."""

from kiln_pipeline.adapters.container_limits import create_arguments, enforced_in
from kiln_pipeline.core.limits import EACH, NOT_ENFORCED, TOGETHER, Limits

LIMITS = Limits(memory=1 << 30, cpus=2, cpu_time=60, processes=64, file_size=1 << 20)


def test_the_engine_is_asked_for_what_its_control_groups_can() -> None:
    """A rootless engine refuses to start with a limit whose control group it does not have."""
    always = ["--log-driver=none", "--security-opt=no-new-privileges", "--cap-drop=NET_RAW", "--cap-drop=MKNOD"]
    assert create_arguments(LIMITS, controllers=frozenset()) == always
    groups = frozenset({"cpu", "memory", "pids", "io"})
    assert create_arguments(LIMITS, controllers=groups)[len(always) :] == [
        "--memory=1073741824b", "--memory-swap=1073741824b", "--pids-limit=64", "--cpus=2"
    ]  # fmt: skip


def test_the_container_says_what_holds() -> None:
    """Control groups of both versions, an engine that forgot them, and a container that said nothing."""
    report = 'kiln: in force: {"each": {"cpu_time": 60, "file_size": 1048576, "memory": 1073741824}, "groups": {%s}}\n'
    held = {"time": TOGETHER, "log": TOGETHER, "disk": NOT_ENFORCED, "cpu_time": EACH, "file_size": EACH}
    grouped = report % '"cpus": "200000", "memory": "1073741824", "processes": "64"'
    assert enforced_in(f"    + sh -c\n{grouped}", LIMITS) == {**held, **dict.fromkeys(("memory", "cpus", "processes"), TOGETHER)}
    forgot = report % '"cpus": "max", "memory": "9223372036854771712", "processes": "max"'
    without = {**held, "memory": EACH, "cpus": NOT_ENFORCED, "processes": NOT_ENFORCED}
    assert enforced_in(forgot, LIMITS) == without
    assert enforced_in(f"{forgot}{grouped}", LIMITS) == without, "a build that prints such a line changes nothing"
    silent = enforced_in("", LIMITS)
    assert {name for name, how in silent.items() if how != NOT_ENFORCED} == {"time", "log"}
