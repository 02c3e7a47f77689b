"""Attempts: what an inbox bundle and an audit log entry say about one try to build one missing wheel. No signing here."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import BuildIdentifier


class Outcome(StrEnum):
    """How an attempt ended. Both are recorded with the same care."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try to build one missing wheel, as the audit log has it. Times are UTC, aware; hashes are lower-case hex sha256."""

    release: Release
    identifier: BuildIdentifier
    outcome: Outcome
    started: datetime
    finished: datetime
    host: str
    """Name of the build host."""
    builder: str
    """``cibuildwheel`` or ``zig``."""
    sdist_sha256: str
    recipe_sha256: str
    """sha256 of the recipe text in force (with the defaults); empty for an ad-hoc build without a recipe."""
    wheel: str = ""
    """Filename with our build tag; empty for a failure."""
    wheel_sha256: str = ""
    wheel_size: int = 0
    metadata_sha256: str = ""
    """sha256 of the wheel's core metadata file."""
    requires_python: str = ""
    """`Requires-Python` of the wheel's own core metadata."""
    failure: str = ""
    """Name of the failure class (`core.failures.FailureClass`); empty for a success."""
    proof: str = ""
    """The log line that proves the failure class."""
    log_sha256: str = ""
    """sha256 of the gzipped log as stored under audit/logs/."""
    tool: str = ""
    """Pin of the builder's own tool, ``cibuildwheel==4.3.3`` or ``ziglang==0.17.1``; empty when its statement names none."""
    image_sha256: str = ""
    """Digest of the container image; empty without one."""
    ladder: int = 0
    """Version of kiln's ladder (`core.strategies.LADDER_VERSION`) that was climbed; 0 in statements from before it had one."""
    statement_sha256: str = ""
    """sha256 of the DSSE envelope's payload: the identity of the attempt."""
    index: int = -1
    """Position in the audit log; -1 before it is recorded."""
