"""What cibuildwheel's log says went into a build. Reads text alone; why a build failed is `core.failure_log`'s matter."""

import re
from dataclasses import replace

from packaging.utils import canonicalize_name

from kiln_pipeline.adapters.index_bounds import given_out, requirement
from kiln_pipeline.core.build_plan import Material

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PYTHON = re.compile(r"^Python (\d+\.\d+\.\d+\S*)", re.MULTILINE)
_STEP = re.compile(r"^(?:\S* )?Building wheel\.\.\.(.*?)(?:^(?:\S* )?Repairing wheel\.\.\.|\Z)", re.MULTILINE | re.DOTALL)
_INSTALLED = re.compile(r"Successfully installed ((?:[\w.-]+-\d\S*\s+)+)")  # pip; `build` breaks its lines at 80 columns
_FROZEN = re.compile(r"^\* Installed build dependency versions:\n((?:  - \S+\n)+)", re.MULTILINE)  # build 1.4 and later


def materials_in(log: str) -> tuple[Material, ...]:
    """Return the interpreter and what was installed from the index that cibuildwheel's log names, sorted by name within a kind.

    Build requirements are what the build step installed; the rest (Cython that generates sources, the tests' requirements) are
    tools. Each has the sha256 of its file where kiln's view of the index gave it out.
    """
    log = _COLOUR.sub("", log)
    python = [Material(name=f"cpython=={match[1]}", kind="interpreter") for match in _PYTHON.finditer(log)][:1]
    step = _STEP.search(log)
    text = step[1] if step else ""
    installed = {word.rpartition("-")[::2] for match in _INSTALLED.finditer(text) for word in match[1].split()}
    frozen = {line.strip("- ").partition("==")[::2] for match in _FROZEN.finditer(text) for line in match[1].splitlines()}
    pins = {f"{canonicalize_name(name)}=={version}" for name, version in installed | frozen}
    given = given_out(log)
    needed = {pair for pair in given if pair[0] in pins} | set(given_out(text))
    unseen = {(pin, "") for pin in pins} - {(pin, "") for pin, _ in needed}
    tools = [replace(requirement(*pair), kind="tool") for pair in given if pair not in needed]
    return (*python, *(requirement(*pair) for pair in sorted(needed | unseen)), *tools)
