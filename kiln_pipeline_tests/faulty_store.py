"""An `ObjectStore` that fails as real ones do: a real store inside, and faults at chosen operations, all by one seed.

What it can do to an operation: end the process before it, after it, or in its middle (some objects of a `put_many` written,
others not, and in a folder the temporary file of a writer that was killed); answer with an error before it or, worse, after it
took effect; answer a read with what the object was some operations ago; and let something else happen first, such as a whole run
of a second publisher. Whoever watches the store is called after every change, as a reader who looks at just that moment.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.errors import ObjectNotFound, StoreError
from kiln_pipeline.ports import ObjectStore

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone. Whatever it does on its way out reaches no store any more."""


class Fault(StrEnum):
    """What happens at an operation."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    KILLED_WITHIN = "killed within"
    REFUSED = "an error, and nothing was done"
    ANSWER_LOST = "an error, but it was done"
    MEANWHILE = "something else happens first"


REASONS = (
    "the service denies access (403 AccessDenied)",
    "the service answered 429, several times",
    "the service answered 500 InternalError, several times",
    "the service did not answer in time, several times",
    "the service's answer broke off 4 times",
)


@dataclass(kw_only=True)
class Faults:
    """What the stores of one process share: the plan of faults by the number of the operation, and the count."""

    plan: dict[int, Fault] = field(default_factory=dict[int, Fault])
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    meanwhile: Callable[[], None] = lambda: None
    lag: int = 0
    """For how many operations of this process a read may answer with what was there before."""
    count: int = 0
    wide: list[int] = field(default_factory=list[int])
    """The operations that wrote several objects."""
    dead: bool = False

    def next(self) -> Fault | None:
        if self.dead:
            raise Killed
        fault = self.plan.get(self.count)
        self.count += 1
        if fault is Fault.KILLED_BEFORE:
            self.kill()
        if fault is Fault.MEANWHILE:
            self.meanwhile()
        return fault

    def kill(self) -> None:
        self.dead = True
        raise Killed

    def error(self, key: str) -> StoreError:
        return StoreError(key=key, reason=self.rng.choice(REASONS), hint="run it again later")


class FaultyStore:
    """`store` as a process sees it that `faults` befall; `watch` is called with each key that changed."""

    def __init__(self, store: ObjectStore, faults: Faults, watch: Callable[[str], None] = lambda _: None) -> None:
        self.store, self.faults, self.watch = store, faults, watch
        self._before: dict[str, tuple[int, bytes | None]] = {}
        """Key -> when it was last changed by this process, and what was there before."""

    def __str__(self) -> str:
        return str(self.store)

    def get(self, key: str) -> bytes:
        self._read(key)
        return self._seen(key, lambda: self.store.get(key))

    def chunks(self, key: str) -> Iterator[bytes]:
        data = self.get(key)
        half = len(data) // 2
        yield from (data[:half], data[half:])

    def exists(self, key: str) -> bool:
        self._read(key)
        try:
            self._seen(key, lambda: b"" if self.store.exists(key) else _absent(key))
        except ObjectNotFound:
            return False
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        self._read(prefix)
        return self.store.keys(prefix)

    def put(self, key: str, data: bytes) -> None:
        self._change(key, lambda: self.store.put(key, data), data)

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        fault = self.faults.next()
        if fault is Fault.REFUSED:
            raise self.faults.error(objects[0][0] if objects else "")
        if len(objects) > 1:
            self.faults.wide.append(self.faults.count - 1)
        shuffled = self.faults.rng.sample(list(objects), len(objects))
        written = self.faults.rng.randrange(len(objects) + 1) if fault is Fault.KILLED_WITHIN else len(objects)
        for key, data in shuffled[:written]:
            self._remember(key)
            self.store.put(key, data)
            self.watch(key)
        if fault is Fault.KILLED_WITHIN and shuffled[written:]:
            self._leave_a_part(*shuffled[written])
        self._end(fault, objects[0][0] if objects else "")

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._change(key, lambda: self.store.put_if_absent(key, data), data)

    def put_file(self, key: str, path: Path) -> bool:
        return self._change(key, lambda: self.store.put_file(key, path))

    def delete(self, key: str) -> None:
        self._change(key, lambda: self.store.delete(key))

    def _read(self, key: str) -> None:
        fault = self.faults.next()
        if fault in (Fault.REFUSED, Fault.ANSWER_LOST):
            raise self.faults.error(key)
        if fault in (Fault.KILLED_AFTER, Fault.KILLED_WITHIN):
            self.faults.kill()

    def _change(self, key: str, change: Callable[[], T], data: bytes = b"") -> T:
        fault = self.faults.next()
        if fault is Fault.REFUSED:
            raise self.faults.error(key)
        if fault is Fault.KILLED_WITHIN:
            self._leave_a_part(key, data)
            self.faults.kill()
        self._remember(key)
        result = change()
        self.watch(key)
        self._end(fault, key)
        return result

    def _seen(self, key: str, now: Callable[[], bytes]) -> bytes:
        """Return what a read answers: what is there, or what was there before this process changed it just now."""
        changed, before = self._before.get(key, (-1 - self.faults.lag, b""))
        if self.faults.count - changed <= self.faults.lag and self.faults.rng.random() < 0.5:
            return before if before is not None else _absent(key)
        return now()

    def _remember(self, key: str) -> None:
        if self.faults.lag:
            try:
                self._before[key] = (self.faults.count, self.store.get(key))
            except ObjectNotFound:
                self._before[key] = (self.faults.count, None)

    def _end(self, fault: Fault | None, key: str) -> None:
        if fault in (Fault.KILLED_AFTER, Fault.KILLED_WITHIN):
            self.faults.kill()
        if fault is Fault.ANSWER_LOST:
            raise self.faults.error(key)

    def _leave_a_part(self, key: str, data: bytes) -> None:
        if isinstance(self.store, DirectoryStore):
            folder = (self.store.folder / key).parent
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f".kiln-tmp-{self.faults.rng.getrandbits(64):016x}").write_bytes(data[: len(data) // 2])


def _absent(key: str) -> bytes:
    raise ObjectNotFound(key)
