"""A container image by its digest: looked for on this host, else fetched. Knows docker and podman, and nothing of builds.

What is found is run by its digest, so that the image that is recorded is the one that ran.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from kiln_pipeline.adapters.processes import ProcessStopped, capture, run_logged
from kiln_pipeline.core.build_plan import Material
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.rebuilds import Obstacle
from kiln_pipeline.errors import BuildError, NotRebuildable

_GONE = re.compile(r"manifest unknown|not found|does not exist|name unknown|denied|unauthorized|no such image", re.IGNORECASE)
"""What registries say of an image that they do not have, or do not give to everybody."""
_PULL_SECONDS = 1800
_OCI_PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One image, as it was asked for and as it is run."""

    reference: str
    """As the host, the recipe or cibuildwheel's own list names it, without a digest."""
    digest: str = ""
    """64 hex digits; empty when the engine cannot say."""
    pinned: str = ""
    """What cibuildwheel is told to run: by digest where there is one."""

    @property
    def material(self) -> Material:
        """The image as what went into a build."""
        return Material(name=self.reference, kind="image", uri=f"oci://{self.reference}", sha256=self.digest)


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


def resolve(reference: str, identifier: BuildIdentifier, *, engine: str, environment: Mapping[str, str]) -> Image:
    """Return the image behind a reference, pulled when it is not there.

    When the engine cannot say or get it, the reference stands as it is: cibuildwheel then says why, in the log.
    """
    name, _, stated = reference.partition("@sha256:")
    if stated:
        return Image(reference=name, digest=stated, pinned=reference)
    platform = _OCI_PLATFORMS[identifier.platform.machine]
    asked = [engine, "image", "inspect", "--format", "{{.Id}} {{json .RepoDigests}}", reference]
    answer = capture(asked, environment=environment)
    if answer is None and capture([engine, "pull", f"--platform={platform}", reference],
                                  environment=environment, timeout=_PULL_SECONDS) is not None:  # fmt: skip
        answer = capture(asked, environment=environment)
    number, _, listed = (answer or "").strip().partition(" ")
    repository = _repository(reference)
    digests = cast(list[str], json.loads(listed)) if listed not in ("", "null") else []
    pinned = next((digest for digest in digests if digest.startswith(f"{repository}@sha256:")), "")
    if pinned:
        return Image(reference=reference, digest=pinned.partition("@sha256:")[2], pinned=pinned)
    # an image that was only ever built here has no digest in docker; its number is one
    number = number.removeprefix("sha256:")
    return Image(reference=reference, digest=number, pinned=f"sha256:{number}" if number else reference)


def _repository(reference: str) -> str:
    """Return a reference without its tag; a colon before the last slash is a port's."""
    head, slash, tail = reference.rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}"
