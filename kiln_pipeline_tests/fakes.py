"""Real implementations of the ports, in memory: they keep every promise that `kiln_pipeline.ports` states. No mocks."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure, Material
from kiln_pipeline.core.distributions import DistributionFile, ProjectPage
from kiln_pipeline.core.platforms import BuildIdentifier, PythonTag
from kiln_pipeline.errors import ObjectExists, ObjectNotFound, ProjectNotFound, StoreError, UpstreamError
from kiln_pipeline.ports import FetchedPage, unheard


class MemoryStore:
    """An `ObjectStore` in a dict. `fail_after` puts succeed, then every put raises like a full disk."""

    def __init__(self, *, fail_after: int | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.fail_after = fail_after
        self.puts: list[str] = []

    def get(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectNotFound(key) from None

    def chunks(self, key: str) -> Iterator[bytes]:
        yield self.get(key)

    def put(self, key: str, data: bytes) -> None:
        if self.fail_after is not None and len(self.puts) >= self.fail_after:
            raise StoreError(key=key, reason="no space left on device", hint="free some space and run again")
        self.puts.append(key)
        self.objects[key] = data

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        for key, data in objects:
            self.put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            if self.objects[key] != data:
                raise ObjectExists(key)
            return False
        self.put(key, data)
        return True

    def put_file(self, key: str, path: Path) -> bool:
        return self.put_if_absent(key, path.read_bytes())

    def exists(self, key: str) -> bool:
        return key in self.objects

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))


class MemorySigner:
    """A `Signer` whose Ed25519 key is derived from its name: the same in every run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class MemoryUpstream:
    """An `UpstreamIndex` over given pages and file contents; a page's validator is its content's hash."""

    def __init__(self, pages: Mapping[str, ProjectPage | UpstreamError], files: Mapping[str, bytes] | None = None) -> None:
        self.pages = dict(pages)
        self.files = dict(files or {})
        self.requests: list[str] = []

    def project_page(self, project: str, *, validator: str = "") -> FetchedPage | None:
        self.requests.append(project)
        page = self.pages.get(project, ProjectNotFound(subject=project, reason="upstream has no such project (404)"))
        if isinstance(page, UpstreamError):
            raise page
        current = hashlib.sha256(repr(page).encode()).hexdigest()
        return None if validator == current else FetchedPage(page=page, validator=current)

    def download(self, file: DistributionFile, folder: Path, *, received: Callable[[int], None] = unheard) -> Path:
        self.requests.append(file.filename)
        data = self.files.get(file.filename)
        if data is None:
            raise UpstreamError(subject=file.filename, reason="upstream answered 404")
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise UpstreamError(subject=file.filename, reason="its sha256 differs from the one upstream states")
        received(len(data))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / file.filename
        path.write_bytes(data)
        return path

    def core_metadata(self, file: DistributionFile) -> bytes:
        name = f"{file.filename}.metadata"
        self.requests.append(name)
        data = self.files.get(name)
        if data is None:
            raise UpstreamError(subject=name, reason="upstream answered 404")
        if file.core_metadata not in ("true", hashlib.sha256(data).hexdigest()):
            raise UpstreamError(subject=name, reason="its sha256 differs from the one upstream states")
        return data


def make_wheel(
    project: str,
    version: str,
    tag: str,
    *,
    extension: str | None = "_speedups",
    requires_python: str = "",
    build: str = "",
    binary: bytes = b"\x7fELF pretend",
    more: Mapping[str, bytes] = MappingProxyType({}),
) -> tuple[str, bytes]:
    """Return (filename, bytes) of a small valid wheel: metadata, one module, one pretend extension, a right RECORD.

    `binary` is the extension's content, `more` are further members.
    """
    stem = f"{project.replace('-', '_')}-{version}"
    filename = f"{stem}-{build + '-' if build else ''}{tag}.whl"
    python = tag.split("-")[0].removeprefix("cp")
    members = {f"{project.replace('-', '_')}/__init__.py": b""}
    if extension:
        suffix = "abi3" if "-abi3-" in tag else f"cpython-{python}-x86_64-linux-gnu"
        members[f"{project.replace('-', '_')}/{extension}.{suffix}.so"] = binary
    members.update(more)
    requires = f"Requires-Python: {requires_python}\n" if requires_python else ""
    members[f"{stem}.dist-info/METADATA"] = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{requires}".encode()
    build_line = f"Build: {build}\n" if build else ""
    purelib = str(extension is None).lower()
    members[f"{stem}.dist-info/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: fake\nRoot-Is-Purelib: {purelib}\nTag: {tag}\n{build_line}"
    ).encode()
    digests = {n: base64.urlsafe_b64encode(hashlib.sha256(d).digest()).rstrip(b"=").decode() for n, d in members.items()}
    record = "".join(f"{n},sha256={digests[n]},{len(d)}\n" for n, d in members.items())
    members[f"{stem}.dist-info/RECORD"] = (record + f"{stem}.dist-info/RECORD,,\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
    return filename, buffer.getvalue()


class ScriptedBuilder:
    """A `WheelBuilder` that makes small real wheels at once; `failures` maps str(identifier) to how that one fails."""

    name = "scripted"

    def __init__(self, failures: Mapping[str, Failure] | None = None) -> None:
        self.failures = dict(failures or {})
        self.built: list[BuildPlan] = []

    def refuses(self, identifier: BuildIdentifier) -> str:
        return ""

    def pythons(self) -> tuple[PythonTag, ...] | None:
        return None

    def cancel(self) -> None:
        """Nothing is ever under way for long."""

    def replaying(self, identifier: BuildIdentifier, materials: Sequence[Material], folder: Path) -> Self:
        return self

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        self.built.append(plan)
        log.write_text(f"building {plan.release} for {plan.identifier}\n")
        materials = (
            Material(name="ziglang==0.17.1", kind="tool"),
            Material(name=f"cpython=={plan.identifier.python.version}.1", kind="interpreter"),
            Material(name="setuptools==80.0.0", kind="build-requirement", sha256="0" * 64),
        )
        failure = self.failures.get(str(plan.identifier))
        if failure is not None:
            return BuildResult(builder=self.name, failure=failure, materials=materials)
        platform = "manylinux_2_17_x86_64" if plan.identifier.platform.family == "manylinux" else "macosx_11_0_arm64"
        python = str(plan.identifier.python)
        filename, data = make_wheel(
            plan.release.project, plan.release.version, f"{python}-{python}-{platform}", build=str(plan.build_number)
        )
        path = work / filename
        path.write_bytes(data)
        return BuildResult(builder=self.name, wheel=path, materials=materials, command=("fake",))
