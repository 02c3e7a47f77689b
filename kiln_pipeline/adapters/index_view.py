"""A simple index on the loopback that shows of the upstream index only what a build may install: what there was on a date.

So the date holds for every pip and uv of any age, and for whatever a build asks for, without an option of theirs. Files are
redirected to upstream and named, with their sha256, in the log.

This file also runs by itself in a container, which has a Python (3.9 or later) and nothing of kiln: standard library only, no
import from kiln. Specifications: PEP 503 (the pages), PEP 691 and PEP 700 (what upstream answers: JSON with upload times).

    python -I -S index_view.py '{"upstream": …, "port": …}'     serves in the background; returns when it answers
"""

import html
import json
import os
import re
import shutil
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

ACCEPT = "application/vnd.pypi.simple.v1+json"
MAX_PAGE = 256 * 1024 * 1024


class Policy(NamedTuple):
    """What a build may install."""

    upstream: str
    """The simple index that is looked at, ending in a slash."""
    cutoff: str = ""
    """An RFC 3339 time in UTC: files uploaded later are not there, nor those of unknown time; empty: no bound."""
    newer: tuple[str, ...] = ()
    """Normalised names of projects that the cut-off does not bind."""
    also: tuple[str, ...] = ()
    """Pins (``cython==0.29.37``) whose files are there in any case."""
    only: tuple[str, ...] = ()
    """The sha256 of the only files that are there; empty: no such bound."""

    def admits(self, project: str, file: dict[str, Any]) -> bool:
        """Return whether one file of a page is there; `project` is normalised, `file` an entry of the JSON page."""
        if self.only:
            return file.get("hashes", {}).get("sha256", "") in self.only
        if not self.cutoff or project in self.newer:
            return True
        name = str(file.get("filename", "")).lower().replace("_", "-")
        pins = [pin.split("==") for pin in self.also]
        if any(project == pinned and re.match(re.escape(f"{pinned}-{version}") + r"(-|\.tar|\.zip)", name)
               for pinned, version in pins):  # fmt: skip
            return True
        uploaded = str(file.get("upload-time") or "")
        return bool(uploaded) and _comparable(uploaded) <= _comparable(self.cutoff)


def _comparable(moment: str) -> tuple[str, str]:
    """Split ``2021-05-18T17:18:22.85Z`` into seconds and the fraction, each of fixed length, so that they compare as texts."""
    seconds, _, fraction = moment.rstrip("Zz").partition(".")
    return seconds, fraction.ljust(6, "0")[:6]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def render(base: str, admitted: list[dict[str, Any]]) -> bytes:
    """Return the PEP 503 page of the admitted files; their links lead to ``files/`` of this index."""
    lines = ["<!DOCTYPE html><html><head><meta name='pypi:repository-version' content='1.0'></head><body>"]
    for file in admitted:
        digest = file.get("hashes", {}).get("sha256", "")
        fragment = f"#sha256={digest}" if digest else ""
        attributes = {"data-requires-python": file.get("requires-python")}
        metadata = file.get("core-metadata") or file.get("dist-info-metadata")
        if metadata:
            text = f"sha256={metadata['sha256']}" if isinstance(metadata, dict) and "sha256" in metadata else "true"
            attributes.update({"data-core-metadata": text, "data-dist-info-metadata": text})
        if file.get("yanked"):
            attributes["data-yanked"] = "" if file["yanked"] is True else str(file["yanked"])
        stated = "".join(f' {key}="{html.escape(value)}"' for key, value in attributes.items() if value is not None)
        link = f"{base}{urllib.parse.quote(file['filename'])}{fragment}"
        lines.append(f'<a href="{html.escape(link)}"{stated}>{html.escape(file["filename"])}</a><br>')
    return "\n".join([*lines, "</body></html>\n"]).encode()


class Upstream:
    """The upstream pages, each fetched once. Safe to share between threads."""

    def __init__(self, endpoint: str, certificates: str = "") -> None:
        self._endpoint = endpoint.rstrip("/") + "/"
        context = ssl.create_default_context(cafile=certificates or None)
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        self._pages: dict[str, dict[str, Any] | None] = {}
        self._lock = threading.Lock()

    def page(self, project: str) -> "dict[str, Any] | None":
        """Return a project's JSON page with absolute file URLs, or None when there is no such project.

        Raises `OSError` or `ValueError` when upstream does not answer, or not with such a page.
        """
        with self._lock:
            if project not in self._pages:
                self._pages[project] = self._fetch(project)
            return self._pages[project]

    def _fetch(self, project: str) -> "dict[str, Any] | None":
        url = self._endpoint + urllib.parse.quote(project) + "/"
        request = urllib.request.Request(url, headers={"Accept": ACCEPT})  # noqa: S310 (the recipe's index, http or https)
        answer = self._answer(request)
        if answer is None:
            return None
        body, where = answer
        if len(body) > MAX_PAGE:
            raise ValueError(f"its page has more than {MAX_PAGE} bytes")
        page = json.loads(body.decode("utf-8"))
        for file in page["files"]:
            file["url"] = urllib.parse.urljoin(where, file["url"])
        return page

    def open(self, url: str) -> Any:
        """Open a file of a page. Raises `OSError`."""
        return self._opener.open(urllib.request.Request(url), timeout=60)  # noqa: S310 (as upstream's page has it)

    def _answer(self, request: urllib.request.Request) -> "tuple[bytes, str] | None":
        """Return the body and its final URL, or None for 404; waits and tries again where that may help."""
        for wait in (1, 2, 4, None):
            try:
                with self._opener.open(request, timeout=60) as answer:
                    return answer.read(MAX_PAGE + 1), answer.geturl()
            except OSError as error:
                code = error.code if isinstance(error, urllib.error.HTTPError) else 503
                if code in (404, 410):
                    return None
                if wait is None or (code < 500 and code != 429):
                    raise
                time.sleep(wait)
        return None


def make_server(
    policy: Policy,
    port: int,
    log: Callable[[str], None],
    certificates: str = "",
    relays: bool = False,
    noting: "str | None" = None,
) -> ThreadingHTTPServer:
    """Return a server on the loopback that listens already; `port` 0 takes any. It serves below ``/simple/``.

    With `relays` it hands out the files itself: for a build that can reach nothing else. `noting` names a header that gets what
    else is given to `log`: for somebody in between who tells it on.
    """
    upstream = Upstream(policy.upstream, certificates)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._notes: list[str] = []
            parts = [urllib.parse.unquote(part) for part in urllib.parse.urlsplit(self.path).path.strip("/").split("/")]
            try:
                if parts[0] == "simple" and len(parts) == 2:
                    self._project(normalised(parts[1]))
                elif parts[0] == "files" and len(parts) == 3:
                    self._file(parts[1], parts[2])
                else:
                    self._answer(404, b"")
            except (OSError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, ConnectionError) and not isinstance(error, urllib.error.URLError):
                    return  # the client went away
                self._note(f"kiln: index: upstream did not answer for {parts[1]}: {error}")
                self._answer(503, b"")

        do_HEAD = do_GET

        def _admitted(self, project: str) -> "list[dict[str, Any]] | None":
            page = upstream.page(project)
            return None if page is None else [file for file in page["files"] if policy.admits(project, file)]

        def _project(self, project: str) -> None:
            files = self._admitted(project)
            if files is None:
                self._answer(404, b"")
                return
            if not files:
                self._note(f"kiln: index: no file of {project} is within the bounds of this build")
            self._answer(200, render(f"/files/{project}/", files), {"Content-Type": "text/html; charset=utf-8"})

        def _file(self, project: str, name: str) -> None:
            suffix = ".metadata" if name.endswith(".metadata") else ""
            wanted = name[: len(name) - len(suffix)]
            found = [file for file in self._admitted(project) or [] if file["filename"] == wanted]
            if not found:
                self._answer(404, b"")
                return
            if not suffix and self.command == "GET":
                self._note(f"kiln: index: {wanted} sha256={found[0].get('hashes', {}).get('sha256', '')}")
            if relays:
                self._relay(found[0]["url"] + suffix)
            else:
                self._answer(302, b"", {"Location": found[0]["url"] + suffix})

        def _relay(self, url: str) -> None:
            try:
                answer = upstream.open(url)
            except urllib.error.HTTPError as error:
                if error.code not in (404, 410):
                    raise
                self._answer(404, b"")
                return
            with answer:
                self._begin(200)
                length = answer.headers.get("Content-Length")
                self.send_header(*(("Content-Length", length) if length else ("Connection", "close")))
                self.send_header("Content-Type", "application/octet-stream")
                self.end_headers()
                if self.command == "GET":
                    shutil.copyfileobj(answer, self.wfile)

        def _note(self, line: str) -> None:
            if noting is None:
                log(line)
            else:
                self._notes.append(" ".join(line.split()).encode("ascii", "replace").decode())

        def _begin(self, status: int) -> None:
            self.send_response(status)
            for line in self._notes:
                self.send_header(str(noting), line)
            self._notes = []

        def _answer(self, status: int, body: bytes, headers: "dict[str, str] | None" = None) -> None:
            self._begin(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body)), "Cache-Control": "no-store"}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server


def main(argument: str) -> None:
    """Serve in a process of its own, which lives as long as its container."""
    stated = json.loads(argument)
    port = stated.pop("port")
    try:
        server = make_server(Policy(**stated), port, lambda line: print(line, file=sys.stderr, flush=True))
    except OSError as error:
        sys.exit(f"kiln: index: cannot listen on port {port}: {error}")
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # the caller waits for the end of its output; the log goes on in the error stream
        os.dup2(null, stream)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
