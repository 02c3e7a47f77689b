"""A `History` on a branch of a git repository, written with the git program. Knows nothing of what the files are.

New commits go through one ``git fast-import``: no work tree, no index, and nothing of the user's git configuration has a say.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from kiln_pipeline.errors import StoreError
from kiln_pipeline.ports import Revision

_UNSAFE = re.compile(r"[<>\x00-\x1f\x7f]")


class GitHistory:
    """The branch of the repository in `folder`, which is made, without a work tree, when there is nothing."""

    def __init__(self, folder: Path, branch: str) -> None:
        self._folder, self._branch = folder, branch
        self._ref = f"refs/heads/{branch}"

    def tip(self) -> str:
        if not self._folder.exists() or not any(self._folder.iterdir()):
            return ""
        if not self._git("for-each-ref", self._ref):
            return ""
        return self._git("log", "-1", "--format=%B", self._ref).decode("utf-8", "replace")

    def append(self, revisions: Iterable[Revision]) -> None:
        if not self._folder.exists() or not any(self._folder.iterdir()):
            self._run("init", "--quiet", "--bare", f"--initial-branch={self._branch}", str(self._folder), within=False)
        if self._git("rev-parse", "--is-bare-repository").strip() != b"true" and self._checked_out():
            hint = "check out another branch there, or export to an empty folder"
            raise self._error(f"the branch {self._branch} is checked out in it, and its files would not follow", hint)
        exists = bool(self._git("for-each-ref", self._ref))
        with subprocess.Popen(
            self._command("fast-import", "--quiet", "--done", "--date-format=raw"),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
        ) as child:
            assert child.stdin is not None
            assert child.stderr is not None
            try:
                for part in self._stream(revisions, exists=exists):
                    child.stdin.write(part)
                child.stdin.close()
            except BrokenPipeError:
                pass  # it has ended early, and says why below
            except BaseException:
                child.kill()
                with suppress(BrokenPipeError):
                    child.stdin.close()
                raise
            problem = child.stderr.read().decode("utf-8", "replace").strip()
            if child.wait() != 0:
                raise self._error(problem or "git fast-import failed")

    def _stream(self, revisions: Iterable[Revision], *, exists: bool) -> Iterator[bytes]:
        for revision in revisions:
            stamp = f"{int(revision.when.timestamp())} +0000"
            yield f"commit {self._ref}\nauthor {_person(revision.author)} {stamp}\n".encode()
            yield f"committer {_person(revision.committer)} {stamp}\n".encode()
            yield _data(revision.message.encode())
            if exists:
                yield f"from {self._ref}^0\n".encode()
                exists = False  # the following ones go on from the one before
            for path in sorted(revision.files):
                yield f'M 100644 inline "{path}"\n'.encode()
                yield _data(revision.files[path])
        yield b"done\n"

    def _checked_out(self) -> bool:
        return self._git("symbolic-ref", "--quiet", "HEAD").decode().strip() == self._ref

    def _git(self, *arguments: str) -> bytes:
        return self._run(*arguments)

    def _run(self, *arguments: str, within: bool = True) -> bytes:
        command = self._command(*arguments) if within else ["git", *arguments]
        try:
            return subprocess.run(command, env=_environment(), capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
        except FileNotFoundError:
            raise self._error("there is no git program", "install git") from None
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode("utf-8", "replace").strip() or f"git {arguments[0]} failed"
            raise self._error(reason, "give an empty folder, or a git repository") from None

    def _command(self, *arguments: str) -> list[str]:
        return ["git", "-C", str(self._folder), *arguments]

    def _error(self, reason: str, hint: str = "") -> StoreError:
        return StoreError(key=str(self._folder), reason=reason, hint=hint)


def _environment() -> dict[str, str]:
    """Return what git gets: nothing that could point it elsewhere or change what it writes."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _person(name: str) -> str:
    clean = _UNSAFE.sub("-", name).strip()
    return f"{clean} <{clean.replace(' ', '-')}>"


def _data(data: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(data), data)
