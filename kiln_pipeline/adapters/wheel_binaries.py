"""The binaries of a finished wheel, examined on the build host by auditwheel, macholib and, for the stable ABI, abi3audit.

What they need is read in a child process with a time and memory of its own (`binary_report`); whether that is what the tags
promise is `core.wheel_needs`'s to say. A wheel that cannot be examined is refused.
"""

import json
import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

from kiln_pipeline.adapters import binary_report
from kiln_pipeline.adapters.processes import capture
from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.core.build_plan import BuildPlan, Failure
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.wheel_contents import UNREADABLE, extension_names, layout_problems
from kiln_pipeline.core.wheel_needs import LinuxNeeds, MacBinary, WheelNeeds, need_problems

ABI3AUDIT = ("abi3audit==0.0.26", "abi3info==2026.9.25", "kaitaistruct==0.11", "pefile==2024.8.26", "pyelftools==0.33")
"""In an environment of its own, since it brings a dozen packages along; made when a wheel for the stable ABI comes up."""
_LIBRARY = re.compile(r"\.(?:so|dylib)(?:\.|$)")
_SECONDS = 600.0
_HINT = "nothing of it is published; its log's repair step says what was linked and how it was tagged"


def examine(wheel: Path, plan: BuildPlan, *, tools: ToolEnvironments, log: Path) -> Failure | None:
    """Return why a wheel's binaries are not what its tags promise, or None; what they need is noted in `log`.

    A wheel that is no sound zip, names itself oddly or has no binaries is left to `core.wheel_contents`.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = frozenset(archive.namelist())
            if list(layout_problems(archive)) or not (extension_names(list(members)) or any(map(_LIBRARY.search, members))):
                return None
        tags = sorted(map(str, parse_wheel_filename(wheel.name)[3]))
    except UNREADABLE:
        return None
    needs = _needs_of(wheel, plan, any("-abi3" in tag for tag in tags), tools)
    problems = ["its binaries cannot be examined"] if needs is None else list(need_problems(needs, tags, members))
    with log.open("a", encoding="utf-8") as lines:
        lines.writelines(f"kiln: {line}\n" for line in (problems or _told(needs)))
    if not problems:
        return None
    return Failure(failure_class=FailureClass.BAD_BINARY, proof="; ".join(problems), hint=_HINT)


def _told(needs: WheelNeeds | None) -> list[str]:
    if needs is None:
        return []
    linux = [f"its binaries need {needs.linux.oldest} ({', '.join(needs.linux.symbols)})"] if needs.linux else []
    macs = {f"its binaries need macOS {one.oldest[0]}.{one.oldest[1]} on {one.machine}" for one in needs.macos}
    return [*linux, *sorted(macs)]


def _needs_of(wheel: Path, plan: BuildPlan, abi3: bool, tools: ToolEnvironments) -> WheelNeeds | None:
    platform, memory = plan.identifier.platform, str(plan.settings.limits.memory)
    linux = () if platform.family == "macosx" else (platform.family, platform.machine)
    with tempfile.TemporaryDirectory(prefix="kiln-examined-") as scratch:
        environment = {"TMPDIR": scratch, "HOME": scratch, "LANG": "C.UTF-8"}
        command = [sys.executable, "-I", binary_report.__file__, wheel, memory, *linux]
        answer = capture(command, environment=environment, timeout=_SECONDS)
        if answer is None:
            return None
        objections: tuple[str, ...] | None = ()
        if abi3:
            python = tools.python("-".join(ABI3AUDIT[0].split("==")), ABI3AUDIT)
            report = Path(scratch, "report.json")
            # its exit status says less than its report, which is there only when the audit came to its end
            command = [python, "-m", "abi3audit", "--strict", "--report", "--output", report, wheel]
            capture(command, environment=environment, timeout=_SECONDS)
            objections = objections_in(report)
    said = json.loads(answer)
    if objections is None:
        return None
    return WheelNeeds(
        linux=_linux(said["linux"]) if said["linux"] else None,
        macos=tuple(
            MacBinary(
                member=one["member"],
                machine=one["machine"],
                oldest=(one["oldest"][0], one["oldest"][1]),
                libraries=tuple(one["libraries"]),
            )
            for one in said["macos"]
        ),
        abi3=objections,
    )


def _linux(said: dict[str, Any]) -> LinuxNeeds:
    return LinuxNeeds(
        oldest=said["oldest"],
        symbols=tuple(said["symbols"]),
        libraries=tuple(said["libraries"]),
        other=tuple(said["other"]),
    )


def objections_in(report: Path) -> tuple[str, ...] | None:
    """Return what an abi3audit report objects to; None when there is no report, or one that audits nothing."""
    try:
        specs = json.loads(report.read_text(encoding="utf-8"))["specs"].values()
        audited = [one for spec in specs for one in spec["wheel"]]
    except (OSError, ValueError, KeyError):
        return None
    if not audited:
        return None
    found: list[str] = []
    for one in audited:
        name, result = one["name"], one["result"]
        used = {**dict.fromkeys(result["non_abi3_symbols"], "not in the stable ABI"), **_later(result["future_abi3_objects"])}
        found += [f"{name} uses {symbol}, which is {why}" for symbol, why in sorted(used.items())]
        if not result["is_abi3"] and not used:
            found.append(f"{name} is not for the stable ABI")
    return tuple(found)


def _later(objects: dict[str, str]) -> dict[str, str]:
    return {name: f"in the stable ABI since Python {version}" for name, version in objects.items()}
