"""Build plans over the real sdists in ``data/sdists``, and helpers that look at what came of them."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.distributions import DistributionFile, FileKind, Release
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.recipes import BuildSettings

SDISTS = Path(__file__).parent / "data" / "sdists"
MARKUPSAFE = "MarkupSafe-2.0.1.tar.gz"
PYYAML = "PyYAML-5.4.1.tar.gz"
FASTRLOCK = "fastrlock-0.5.tar.gz"
_UPLOADED = {
    MARKUPSAFE: datetime(2021, 5, 18, 17, 18, 22, 856620, tzinfo=UTC),
    FASTRLOCK: datetime(2020, 6, 5, 19, 21, 24, 230285, tzinfo=UTC),
    PYYAML: datetime(2021, 1, 20, 22, 7, 59, 479650, tzinfo=UTC),
}


def plan_of(
    filename: str, identifier: str = "cp311-manylinux_x86_64", *, settings: BuildSettings | None = None, **more: Any
) -> BuildPlan:
    """Return a plan for one of the captured sdists; `more` are further fields of the plan."""
    data = (SDISTS / filename).read_bytes()
    return plan_for_file(filename, data, identifier, settings=settings, uploaded=_UPLOADED[filename], **more)


def plan_for_file(
    filename: str,
    data: bytes,
    identifier: str = "cp311-manylinux_x86_64",
    *,
    settings: BuildSettings | None = None,
    uploaded: datetime = datetime(2021, 5, 18, tzinfo=UTC),
    **more: Any,
) -> BuildPlan:
    """Return a plan for any sdist, named ``project-version.tar.gz``."""
    project, _, version = filename.removesuffix(".tar.gz").rpartition("-")
    sdist = DistributionFile(
        filename=filename,
        url=f"https://files.example.org/{filename}",
        kind=FileKind.SDIST,
        version=version,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        upload_time=uploaded,
    )
    return BuildPlan(
        release=Release.of(project, version),
        identifier=BuildIdentifier.parse(identifier),
        sdist=sdist,
        settings=settings or BuildSettings(),
        **more,
    )
