"""What an installed cibuildwheel brings along: its resources, and the pins of the tools that it installs beside a build."""

import re
from pathlib import Path

_TESTING = frozenset({"virtualenv", "distlib", "filelock", "platformdirs", "python-discovery"})


def package_of(python: Path) -> Path:
    """Return the folder of the cibuildwheel that is installed in the environment of `python`."""
    return next(python.parent.parent.glob("lib/python*/site-packages/cibuildwheel"))


def own_pins(python: Path) -> tuple[str, ...]:
    """Return the pins of the tools that the cibuildwheel in the environment of `python` installs beside a build, sorted."""
    files = sorted((package_of(python) / "resources").glob("constraints*.txt"))
    lines = (line.partition(";")[0].strip() for file in files for line in file.read_text().splitlines())
    return tuple(sorted({line for line in lines if re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)}))


def pins_of_test_step(python: Path) -> tuple[str, ...]:
    """Return those of `own_pins` that the test step needs: virtualenv and what it needs, none of them a build requirement."""
    return tuple(pin for pin in own_pins(python) if pin.partition("==")[0] in _TESTING)
