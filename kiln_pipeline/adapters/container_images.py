"""A container image by its digest: looked for on this host, else fetched. Knows docker and podman, and nothing of builds."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kiln_pipeline.adapters.processes import ProcessStopped, capture, run_logged
from kiln_pipeline.core.rebuilds import Obstacle
from kiln_pipeline.errors import BuildError, NotRebuildable

_GONE = re.compile(r"manifest unknown|not found|does not exist|name unknown|denied|unauthorized|no such image", re.IGNORECASE)
"""What registries say of an image that they do not have, or do not give to everybody."""
_PULL_SECONDS = 1800


def pinned_image(engine: str, name: str, sha256: str, *, environment: Mapping[str, str]) -> str:
    """Return the reference by which `engine` runs the image `name` of that digest, fetching it when it is not here.

    An image that was made on this host and never was in a registry is known by its id. Raises `NotRebuildable` when no registry
    has it, and `BuildError` when that cannot be found out now.
    """
    reference = f"{name}@sha256:{sha256}"
    for known in (reference, f"sha256:{sha256}"):
        if capture([engine, "image", "inspect", known], environment=environment) is not None:
            return known
    hint = "nobody can repeat this build without that image"
    if name.startswith("localhost/"):
        reason = f"the image {reference} was made on the build host, and is not on this one"
        raise NotRebuildable(subject=name, obstacle=Obstacle.IMAGE_GONE, reason=reason, hint=hint)
    with tempfile.TemporaryDirectory(prefix="kiln-image-") as scratch:
        log = Path(scratch, "log")
        try:
            command = [engine, "pull", "--quiet", reference]
            status = run_logged(command, cwd=Path(scratch), environment=environment, log=log, timeout=_PULL_SECONDS)
        except ProcessStopped:
            raise BuildError(subject=reference, reason=f"it could not be fetched in {_PULL_SECONDS} seconds") from None
        said = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    if status == 0:
        return reference
    if _GONE.search(said):
        raise NotRebuildable(
            subject=name, obstacle=Obstacle.IMAGE_GONE, reason=f"{reference} is not to be had: {said}", hint=hint
        )
    raise BuildError(subject=reference, reason=f"it could not be fetched: {said}", hint="try again later")
