"""What one build may take of its host, as values. Who enforces them, and which are in force, is a builder's business.

Every statement shows both: the limits that were asked for (in the settings), and how each was enforced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

_MIB, _GIB = 1024**2, 1024**3


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits of one build: sizes in bytes, times in seconds."""

    memory: int = 8 * _GIB
    """Of all processes together where there is a control group, else of each."""
    cpus: int = 0
    """Cores; 0: all of the host's."""
    time: int = 7200
    """On the clock, for one rung of the ladder."""
    cpu_time: int = 28_800
    """That one process may compute."""
    processes: int = 2048
    """That run at once."""
    file_size: int = 4 * _GIB
    """Of any one file."""
    disk: int = 20 * _GIB
    """Of the build's folder."""
    log: int = 64 * _MIB
    """What the build may print."""

    def with_stated(self, stated: Mapping[str, int]) -> "Limits":
        """Return these with some of them replaced, by field name."""
        return replace(self, **stated)


LOWEST = Limits(memory=256 * _MIB, cpus=0, time=10, cpu_time=10, processes=16, file_size=16 * _MIB, disk=64 * _MIB, log=64 * 1024)
"""Below these not even the tools of a build run."""

TOGETHER, EACH = "all processes together", "each process"
FOLDER, COUNTED, NOT_ENFORCED = "its folder, measured", "counted, many times a second", "not enforced"
"""How a limit was held, as statements say it."""

NAMES = tuple(field.name for field in fields(Limits))
