"""What the stages need of the outside world, as Protocols. Adapters provide them; fakes in the tests are real implementations.

No implementation here, and no type of any outside library.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Material
from kiln_pipeline.core.distributions import DistributionFile, ProjectPage
from kiln_pipeline.core.platforms import BuildIdentifier, PythonTag


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedPage:
    """An upstream answer that differs from what we had: the page and the validator for the next conditional request."""

    page: ProjectPage
    validator: str
    """Opaque: an ETag, a serial or a digest of the body. Empty when the page must be fetched anew each time."""


def unheard(_: int) -> None:
    """Hear of received bytes, and do nothing."""


class UpstreamIndex(Protocol):
    """The upstream simple index (PEP 503, PEP 691)."""

    def project_page(self, project: str, *, validator: str = "") -> FetchedPage | None:
        """Fetch a project page; None when it has not changed since `validator`.

        Raises `ProjectNotFound` for 404 and `UpstreamError` for anything else that is not a valid page.
        """
        ...

    def download(self, file: DistributionFile, folder: Path, *, received: Callable[[int], None] = unheard) -> Path:
        """Download a file into `folder` under its own filename and return its path.

        The bytes are checked against ``file.sha256`` (and size, where stated) before the final name exists. What came before a
        download was cut off is not asked for again, by the next one into this folder. `received` hears of each piece how many
        bytes it has; it may wait, or raise to stop. Raises `UpstreamError` when bytes differ or upstream does not answer.
        """
        ...

    def core_metadata(self, file: DistributionFile) -> bytes:
        """Fetch the core metadata file of a wheel whose page states one (PEP 658, PEP 714).

        The bytes are checked against the hash in ``file.core_metadata``, where it states one. Raises `UpstreamError` when they
        differ, when there is none, or when upstream does not answer.
        """
        ...


class ObjectStore(Protocol):
    """A flat store of bytes under keys like ``simple/foo/index.json``: the site, the inbox, the state.

    Every put is atomic for readers: they see the old object, or the new one, never a part.
    """

    def get(self, key: str) -> bytes:
        """Raises `ObjectNotFound`, or `StoreError` when the store cannot be read."""
        ...

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the bytes of one object in pieces, for one of any size. Raises as `get` does, with the first piece or later."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write or replace. Raises `StoreError` (disk full, no permission, …); then the old object is still there."""
        ...

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """As `put` for each (key, data), in any order: all are there when it returns, any of them when it raises `StoreError`."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write once. True when written, False when the same bytes are there already; raises `ObjectExists` for other bytes."""
        ...

    def put_file(self, key: str, path: Path) -> bool:
        """As `put_if_absent`, with the bytes of a file of any size: they are never in memory all at once. The file stays."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove; no error when there is nothing."""
        ...

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield all keys that start with `prefix`, in byte order."""
        ...


@runtime_checkable
class ReleasePage(Protocol):
    """Where files are released under a tag, for people to find: GitHub Releases. ``str`` of it says where."""

    def publish(self, tag: str, files: Mapping[str, bytes], notes: str) -> bool:
        """Release `files` (filename -> bytes) under `tag`, all at once for those who look; True when anything was done.

        Run again after any failure, it goes on from there. Raises `ObjectExists` when one of them is released with other bytes,
        and `StoreError` when the page cannot be reached or refuses.
        """
        ...


class AlertChannel(Protocol):
    """Where people are told what is wrong: a chat, a mailbox."""

    def send(self, subject: str, text: str) -> None:
        """Deliver one message, in seconds. Raises `DeliveryError`; then it may be sent again."""
        ...


class WheelBuilder(Protocol):
    """Something that turns an sdist into a wheel: cibuildwheel, or zig without a container engine."""

    name: str

    def refuses(self, identifier: BuildIdentifier) -> str:
        """Return why this builder cannot build `identifier` on this host, or an empty string when it can."""
        ...

    def pythons(self) -> tuple[PythonTag, ...] | None:
        """The interpreters this builder is limited to on this host; None when it brings its own."""
        ...

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        """Build one wheel in the empty folder `work`, writing everything the tools print to `log`.

        A package that fails to build is a `BuildResult` with a failure. Raises `BuildError` only when the builder itself
        cannot run, and `BuildCancelled`. Called from several threads at once for different folders. On any exception,
        KeyboardInterrupt included, every child process is gone when it propagates.
        """
        ...

    def cancel(self) -> None:
        """End every build that is under way in any thread: its children are gone, and its `build` raises `BuildCancelled`."""
        ...

    def replaying(self, identifier: BuildIdentifier, materials: Sequence[Material], folder: Path) -> "WheelBuilder":
        """Return a builder that does what this one did when `materials` went into a build for `identifier`.

        It uses the recorded tools and image, made or fetched anew below the empty `folder`, and no cache of other builds. Raises
        `NotRebuildable` when one of them is not to be had, and `BuildError` when that cannot be found out now.
        """
        ...


class PageTemplates(Protocol):
    """The templates of the pages for people, by name."""

    @property
    def fingerprint(self) -> str:
        """Changes when any template does."""
        ...

    def render(self, name: str, values: Mapping[str, object]) -> bytes:
        """Return the page that a template makes of `values`: the same bytes for the same values."""
        ...

    def text(self, name: str) -> bytes:
        """Return a file that is no template, as it is: the style sheet."""
        ...

    def snippets(self, index_url: str) -> tuple[tuple[str, str], ...]:
        """Return (installer, text to copy) for a simple index at `index_url`."""
        ...


class Signer(Protocol):
    """Holds one Ed25519 private key."""

    name: str
    """The key's name: a host name, or the audit log's origin."""

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes of the Ed25519 public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature (RFC 8032) of `message`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """One commit of a `History`: files that are added (path -> bytes), and who did what when."""

    message: str
    author: str
    committer: str
    when: datetime
    files: Mapping[str, bytes]


class History(Protocol):
    """An append-only history of files, for people: a branch of a git repository."""

    def tip(self) -> str:
        """Return the message of the newest revision; empty when there is none. Raises `StoreError`."""
        ...

    def append(self, revisions: Iterable[Revision]) -> None:
        """Add revisions after the tip, in their order: equal ones over equal tips give equal histories. Raises `StoreError`."""
        ...


class Progress(Protocol):
    """Where a stage says what it does: a terminal, Dagster's log, or nothing."""

    def step(self, text: str) -> None:
        """A new thing begins or ended, in one line."""
        ...
