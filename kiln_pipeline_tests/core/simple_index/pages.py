"""Files and attempts for tests of the simple index."""

from datetime import UTC, datetime
from typing import Any

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import DistributionFile, FileKind, Release
from kiln_pipeline.core.platforms import BuildIdentifier

SDIST = "5" * 64


def upstream_file(filename: str, **changes: Any) -> DistributionFile:
    fields: dict[str, Any] = {
        "filename": filename,
        "url": f"https://files.example.org/{filename}",
        "kind": FileKind.WHEEL if filename.endswith(".whl") else FileKind.SDIST,
        "version": filename.removesuffix(".tar.gz").split("-")[1],
        "sha256": SDIST if filename.endswith(".tar.gz") else "a" * 64,
        "size": 1000,
        "upload_time": datetime(2022, 12, 1, 12, 0, 0, 123456, tzinfo=UTC),
    }
    return DistributionFile(**{**fields, **changes})


def attempt(wheel: str, **changes: Any) -> Attempt:
    project, version = wheel.split("-")[:2]
    fields: dict[str, Any] = {
        "release": Release(project=project, version=version),
        "identifier": BuildIdentifier.parse("cp311-manylinux_x86_64"),
        "outcome": Outcome.SUCCEEDED,
        "started": datetime(2026, 11, 1, 10, 0, tzinfo=UTC),
        "finished": datetime(2026, 11, 1, 10, 5, tzinfo=UTC),
        "host": "host",
        "builder": "zig",
        "sdist_sha256": SDIST,
        "recipe_sha256": "7" * 64,
        "wheel": wheel,
        "wheel_sha256": "b" * 64,
        "wheel_size": 2000,
        "metadata_sha256": "c" * 64,
        "requires_python": ">=3.7",
        "index": 3,
    }
    return Attempt(**{**fields, **changes})
