"""How many builds this host has room for at the same time: its cores and its free memory. Starts nothing."""

import os
from pathlib import Path

MEMORY_PER_BUILD = 2 * 1024**3
"""Bytes that a build is reckoned with: a C++ compiler on generated code takes that much at times."""


def builds_at_once() -> int:
    """Return one build for each core that this process may use, fewer where the free memory says so, at least one."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, _free_memory() // MEMORY_PER_BUILD))


def _free_memory() -> int:
    """Return the bytes that new processes can have; where the system does not say, half of what there is."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
