"""GitHub Releases over its REST API: one release a wheel, its tag the wheel's filename, as python.build always had them.

A release is a draft, which nobody sees, until all of its files are there, and is published then. Every step looks before it acts,
so that whatever broke off is gone on with: a draft that is there is taken, a file that is there and right is kept, a broken-off
upload is removed and sent again. A published file is never replaced. Knows nothing of wheels.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import requests

from kiln_pipeline.errors import ObjectExists, StoreError

API = "https://api.github.com"
_VERSION = "2022-11-28"
_TIMEOUT = (10.0, 120.0)
_ATTEMPTS = 6
_LONGEST_WAIT = 120.0
"""Seconds: when GitHub wants a longer one, the next run goes on."""
_PAGE = 100
_TOKEN = "put a token that may write the repository's contents into GITHUB_TOKEN"  # noqa: S105 - a hint, no password


class GitHubReleases:
    """A `ports.ReleasePage` of one repository, ``owner/name``. `sleep` and `clock` are the tests' to replace."""

    def __init__(
        self,
        repository: str,
        *,
        token: str,
        api: str = API,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._repository, self._base = repository, f"{api.rstrip('/')}/repos/{repository}"
        self._sleep, self._clock, self._token = sleep, clock, token
        self._session = requests.Session()
        self._session.headers.update(
            {"Accept": "application/vnd.github+json", "Authorization": f"Bearer {token}", "X-GitHub-Api-Version": _VERSION}
        )
        self._releases: dict[str, dict[str, Any]] | None = None
        self._doubles: dict[str, list[dict[str, Any]]] = {}

    def __str__(self) -> str:
        return f"github://{self._repository}"

    def publish(self, tag: str, files: Mapping[str, bytes], notes: str) -> bool:
        if not self._token:
            raise StoreError(key=str(self), reason="there is no token for it", hint=_TOKEN)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._publish(tag, files, notes)
            except _AgainError as again:
                if attempt == _ATTEMPTS:
                    raise StoreError(key=f"{self} {tag}", reason=again.reason, hint="the next run goes on from there") from again
                self._sleep(again.wait if again.wait is not None else min(2.0**attempt, 30.0))
                if not again.nothing_done:
                    self._releases = None  # what is there now has to be seen first
        raise AssertionError("the last attempt returns or raises")

    def _publish(self, tag: str, files: Mapping[str, bytes], notes: str) -> bool:
        release = self._known().get(tag)
        changed = release is None
        if release is None:
            new = {"tag_name": tag, "name": tag, "body": notes, "draft": True}
            release = self._known()[tag] = self._call("POST", self._base + "/releases", json=new)
        for double in self._doubles.pop(tag, []):  # of a request whose answer was lost
            if double["draft"]:
                self._call("DELETE", f"{self._base}/releases/{double['id']}")
        there = {asset["name"]: asset for asset in release["assets"]}
        for name, data in files.items():
            changed |= self._put(release, there.get(asset_name(name)), name, data)
        if release["draft"]:
            published = {"draft": False, "make_latest": "false"}
            self._known()[tag] = self._call("PATCH", f"{self._base}/releases/{release['id']}", json=published)
            changed = True
        return changed

    def _put(self, release: Mapping[str, Any], there: Mapping[str, Any] | None, name: str, data: bytes) -> bool:
        """Upload a file unless it is there; return whether anything was done."""
        if there is not None:
            whole = there["state"] == "uploaded"
            if whole and there["size"] == len(data) and self._digest(there) == hashlib.sha256(data).hexdigest():
                return False
            if whole and not release["draft"]:
                raise ObjectExists(f"{self} {release['tag_name']} {name}")
            self._call("DELETE", f"{self._base}/releases/assets/{there['id']}")
        url = f"{release['upload_url'].partition('{')[0]}?name={quote(name)}&label={quote(name)}"
        asset = self._call("POST", url, data=data, headers={"Content-Type": "application/octet-stream"})
        if asset["size"] != len(data) or self._digest(asset) != hashlib.sha256(data).hexdigest():
            raise _AgainError(f"{name} arrived with other bytes")
        return True

    def _digest(self, asset: Mapping[str, Any]) -> str:
        """Return the sha256 that GitHub states of a file; of one of before it stated any, that of its bytes."""
        kind, _, value = str(asset.get("digest") or "").partition(":")
        if kind == "sha256":
            return value
        answer = self._answer(
            "GET", f"{self._base}/releases/assets/{asset['id']}", headers={"Accept": "application/octet-stream"}
        )
        return hashlib.sha256(answer.content).hexdigest()

    def _known(self) -> dict[str, dict[str, Any]]:
        """Return all releases by tag; drafts too, which only the list has."""
        if self._releases is None:
            found: list[dict[str, Any]] = []
            url: str | None = f"{self._base}/releases?per_page={_PAGE}"
            while url:
                answer = self._answer("GET", url)
                found += self._json(answer)
                url = answer.links.get("next", {}).get("url")
            # a published release counts before a draft, and an older draft before a newer one
            found.sort(key=lambda release: (release["draft"], release["id"]))
            self._releases, self._doubles = {}, {}
            for release in found:
                if self._releases.setdefault(release["tag_name"], release) is not release:
                    self._doubles.setdefault(release["tag_name"], []).append(release)
        return self._releases

    def _call(self, method: str, url: str, **more: Any) -> Any:
        answer = self._answer(method, url, **more)
        return self._json(answer) if answer.content else None

    def _json(self, answer: requests.Response) -> Any:
        try:
            return answer.json()
        except requests.exceptions.JSONDecodeError as error:
            raise _AgainError("GitHub's answer is no JSON") from error

    def _answer(self, method: str, url: str, **more: Any) -> requests.Response:
        try:
            answer = self._session.request(method, url, timeout=_TIMEOUT, **more)
        except requests.exceptions.RequestException as error:
            raise _AgainError(f"GitHub cannot be reached, several times ({type(error).__name__})") from error
        status = answer.status_code
        if status < 400:
            return answer
        if status in (403, 429) and (wait := self._wait(answer)) is not None:
            if wait > _LONGEST_WAIT:
                reason = f"GitHub's rate limit is used up for {wait:.0f} s more"
                raise StoreError(key=str(self), reason=reason, hint="the next run goes on from there")
            raise _AgainError(f"GitHub answered {status} (its rate limit), several times", wait=wait, nothing_done=True)
        if status >= 500 or status == 422 or (status == 404 and method == "DELETE"):
            # 422: it exists by now, of an earlier request or another publisher; or it is a refusal that says why
            raise _AgainError(f"GitHub answered {status}: {_said(answer)}")
        hints = {401: _TOKEN, 403: _TOKEN, 404: f"is there a repository {self._repository}, and may the token see it?"}
        raise StoreError(key=str(self), reason=f"GitHub answered {status}: {_said(answer)}", hint=hints.get(status, ""))

    def _wait(self, answer: requests.Response) -> float | None:
        """Return how many seconds GitHub asks to wait; None when it asks for nothing, and refuses for good."""
        after = answer.headers.get("Retry-After", "")
        if after.isdecimal():
            return float(after)
        if answer.headers.get("X-RateLimit-Remaining") == "0" and answer.headers.get("X-RateLimit-Reset", "").isdecimal():
            return max(0.0, float(answer.headers["X-RateLimit-Reset"]) - self._clock()) + 1.0
        return 60.0 if answer.status_code == 429 else None


class _AgainError(Exception):
    """What may pass: look at what is there now, and go on."""

    def __init__(self, reason: str, *, wait: float | None = None, nothing_done: bool = False) -> None:
        self.reason, self.wait, self.nothing_done = reason, wait, nothing_done
        super().__init__(reason)


def asset_name(filename: str) -> str:
    """Return what GitHub calls an uploaded file: it writes a dot for a character that it does not like, such as ``+``."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "-._") else "." for char in filename)


def _said(answer: requests.Response) -> str:
    try:
        body = answer.json()
        texts = [body.get("message", ""), *(str(error.get("code", error)) for error in body.get("errors", ()))]
    except (ValueError, AttributeError):
        return answer.reason or "nothing that it explains"
    return " ".join("; ".join(text for text in texts if text).split())[:300]
