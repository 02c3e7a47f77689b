"""Whether a sound wheel is what its plan, its build's log and its sdist say that it must be. Pure; the wheel itself is read by
`core.wheel_contents`.

Legal order: `check_wheel`, then, where the build has just been, `check_declared` and `check_claims`. Each raises
`VerificationError` with every problem that it finds.
"""

import io
import re
import zipfile
from collections.abc import Mapping

from packaging.version import Version

from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.sdist_claims import SdistClaims, claim_problems
from kiln_pipeline.core.wheel_contents import WheelFacts, headers, refuse
from kiln_pipeline.core.wheel_tags import floor_problems, tag_problems
from kiln_pipeline.errors import VerificationError

LOST_EXTENSION = "lost extension: "
"""How the reason of a `VerificationError` starts when the build succeeded but an expected extension module is not there."""
BAD_BINARY = "bad binary: "
"""How it starts when the binaries are not for the systems that the wheel is for."""

_DECLARED = re.compile(r"^(?:.* )?building '(?P<name>[\w.]+)' extension$", re.MULTILINE)
_OPTIONAL_FAILED = re.compile(r"building extension [\"'](?P<name>[\w.]+)[\"'] failed")


def check_wheel(facts: WheelFacts, plan: BuildPlan) -> None:
    """Check that a wheel is what a plan asked for.

    Raises `VerificationError`. Its reason starts with `LOST_EXTENSION` when the wheel is sound but lacks an extension module
    that the plan expects: setuptools' optional extensions end so, with exit status 0; with `BAD_BINARY` when it needs a newer
    system than the plan's floor.
    """
    problems: list[str] = []
    if facts.project != plan.release.project:
        problems.append(f"it is project {facts.project}, not {plan.release.project}")
    if Version(facts.version) != Version(plan.release.version):
        problems.append(f"it has version {facts.version}, not {plan.release.version}")
    refuse(facts.filename, problems)
    _check_extensions(facts, plan)
    refuse(facts.filename, tag_problems(facts.tags, plan))
    newer = "; ".join(floor_problems(facts.tags, plan))
    if newer:
        raise VerificationError(subject=facts.filename, reason=BAD_BINARY + newer)


def check_declared(facts: WheelFacts, plan: BuildPlan, log: str) -> None:
    """Check that a wheel has every extension module that its build said it was building (setuptools; distutils likewise).

    An optional one that does not compile is left out with exit status 0. A recipe that lists the extensions is taken at its word.
    Raises `VerificationError` that starts with `LOST_EXTENSION`.
    """
    if plan.settings.extensions:
        return
    failed = {match["name"] for match in _OPTIONAL_FAILED.finditer(log)}
    tops = {name.partition(".")[0] for name in facts.extensions}
    declared = {match["name"] for match in _DECLARED.finditer(log) if match["name"].partition(".")[0] in tops}
    lost = [name for name in sorted(failed | declared) if not any(f".{found}".endswith(f".{name}") for found in facts.extensions)]
    if lost:
        reason = f"{LOST_EXTENSION}the build began {', '.join(lost)}, which the wheel does not have"
        hint = "list in the recipe's extensions those that the wheel must have, if it can do without the others"
        raise VerificationError(subject=facts.filename, reason=reason, hint=hint)


def check_claims(facts: WheelFacts, data: bytes, claims: SdistClaims) -> None:
    """Check that a wheel, `data`, says what its sdist says, and brings the licences along. Raises `VerificationError`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        wheel = headers(archive.read(next(name for name in names if name.endswith(".dist-info/WHEEL") and name.count("/") == 1)))
    refuse(facts.filename, claim_problems(claims, headers(facts.metadata), wheel, names))


def _check_extensions(facts: WheelFacts, plan: BuildPlan) -> None:
    wanted = [name for name in plan.settings.extensions if name not in facts.extensions]
    pure_platform = all(tag.endswith("-any") for tag in facts.tags)
    if wanted:
        reason = f"{', '.join(wanted)} not in the wheel"
    elif plan.expects_extension and not facts.extensions:
        reason = "the wheel has no extension module at all"
    elif not pure_platform and not facts.extensions:
        reason = "the wheel is tagged for a platform and has no extension module"
    else:
        return
    raise VerificationError(
        subject=facts.filename, reason=LOST_EXTENSION + reason, hint=_lost_hint(plan.settings.system_packages)
    )


def _lost_hint(system_packages: Mapping[str, tuple[str, ...]]) -> str:
    packages = "; ".join(f"{manager}: {' '.join(names)}" for manager, names in sorted(system_packages.items()))
    if packages:
        return f"the recipe's system packages ({packages}) are installed where a container engine builds, and not without one"
    return (
        "the build fell back to pure Python: read its log for the compiler's first error, and add what is missing to the recipe"
    )
