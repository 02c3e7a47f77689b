"""Which builds run on this host, known by locks that the system itself lets go when a process dies, SIGKILL included.

A build's token stands in the label of its container. So what a killed kiln left behind is found at the next start, and nothing
of a build that still runs is touched, whoever started it.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class RunningBuilds:
    """The running builds that share one folder of locks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def home(self) -> str:
        """A name for the folder that tells it from others' on the same host."""
        return hashlib.sha256(str(self._folder).encode()).hexdigest()[:16]

    @contextmanager
    def running(self) -> Iterator[str]:
        """Yield the token of a build, which counts as running until the end of the block or of this process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(8)
        with FileLock(self._file(token)):
            try:
                yield token
            finally:
                self._file(token).unlink(missing_ok=True)

    def dead(self, tokens: Iterable[str]) -> list[str]:
        """Return those of the tokens whose build runs no more, and forget them."""
        return [token for token in tokens if self._is_dead(token)]

    def _is_dead(self, token: str) -> bool:
        file = self._file(token)
        if not file.exists():
            return True
        try:
            with FileLock(file, timeout=0):
                file.unlink(missing_ok=True)
        except Timeout:
            return False
        return True

    def _file(self, token: str) -> Path:
        return self._folder / f"{token}.lock"
