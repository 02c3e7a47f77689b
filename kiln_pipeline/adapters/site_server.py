"""The published site over HTTP, for development, tests and `kiln run`'s proof: what any edge in front of it must do.

JSON or HTML by the Accept header, 404 for unknown projects, one spelling of each name, conditional and range requests (these
from a folder only). In production nginx or an object store's edge does this (see ``deploy/``). No page is made here, the
greeting at the root apart.
"""

import contextlib
import hashlib
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Sequence
from datetime import date
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.staticfiles import NotModifiedResponse

from kiln_pipeline.core.dated_views import read_view
from kiln_pipeline.core.distributions import project_name
from kiln_pipeline.core.site_layout import HTML, IMMUTABLE, SIMPLE_JSON, VIEW_MANIFEST, headers, view_manifest
from kiln_pipeline.errors import ObjectNotFound, StoreError, VerificationError
from kiln_pipeline.ports import ObjectStore

Site = Path | ObjectStore
"""A folder, or any other store: its objects are read whole for each request, which serves a person, not a public."""
SIMPLE_HTML = "application/vnd.pypi.simple.v1+html"
_LATEST = {
    "application/vnd.pypi.simple.latest+json": SIMPLE_JSON,
    "application/vnd.pypi.simple.latest+html": SIMPLE_HTML,
}


_INDEX = re.compile(r"simple(@(\d{4}-\d\d-\d\d|[0-9a-f]{64}))?(?=/|$)", re.ASCII)
_DATED = re.compile(r"simple@(\d{4}-\d\d-\d\d)(?:/|$)", re.ASCII)


def negotiate(accept: str) -> str:
    """Return the content type of a simple page for an Accept header (RFC 9110 12.5.1): JSON, versioned HTML or plain HTML.

    The highest quality wins; of equal ones the type that is named most exactly, and then JSON. What accepts nothing of ours gets
    HTML: old clients send odd headers, and a 406 helps none of them (PEP 691 permits it).
    """
    offers = (SIMPLE_JSON, SIMPLE_HTML, "text/html")
    ranked = [(*_quality(offer, accept), -position) for position, offer in enumerate(offers)]
    quality, exactness, position = max(ranked)
    return offers[-position] if quality > 0 and exactness > 0 else "text/html"


def _quality(offer: str, accept: str) -> tuple[float, int]:
    """Return (quality, exactness) of the most exact range of `accept` that matches: 2 the type itself, 1 its family, 0 any."""
    best = (-1, 0.0)
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        name = _LATEST.get(name, name)
        patterns = ("*/*", offer.partition("/")[0] + "/*", offer)
        if name in patterns:
            best = max(best, (patterns.index(name), _q(parameters)))
    return best[1], best[0]


def _q(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            with contextlib.suppress(ValueError):
                return min(max(float(value), 0.0), 1.0)
            return 0.0
    return 1.0


def site_app(site: Site) -> Starlette:
    """Return the application that serves `site`, which may be empty or absent until the first publish."""

    def answer(request: Request) -> Response:  # not async: Starlette runs it in a thread, and it may read files
        return _answer(site, request)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET"])])


def _answer(site: Site, request: Request) -> Response:
    path: str = request.path_params["path"]
    parts = path.split("/")
    if any(part.startswith(".") or "\\" in part or "\0" in part for part in parts) or "" in parts[:-1]:
        return _absent(path)
    if _INDEX.fullmatch(parts[0]) and len(parts) > 1 and not parts[1].startswith(("index.", "manifest.", "attestation.")):
        with contextlib.suppress(ValueError):
            normal = project_name(parts[1])
            if normal != parts[1]:
                return _redirect(request, "/".join([parts[0], normal, *(parts[2:] or [""])]))
    if not path or _is_folder(site, path):
        if parts[-1]:
            return _redirect(request, path + "/")
        return _page(site, path, request)
    return _file(site, path, request)


def _is_folder(site: Site, path: str) -> bool:
    if _DATED.match(path):
        return "." not in path.rpartition("/")[2]
    if isinstance(site, Path):
        return (site / path).is_dir()
    # a bucket has no folders, and only those with an index have an address
    return path.endswith("/") or ("." not in path.rpartition("/")[2] and site.exists(f"{path}/index.html"))


def _page(site: Site, path: str, request: Request) -> Response:
    """Answer with the index of the folder `path` (empty, or ending in a slash)."""
    if not _INDEX.match(path):
        if not path and not _has_index(site):
            return _greeting(request)
        return _file(site, path + "index.html", request)
    kind = negotiate(",".join(request.headers.getlist("accept")))
    name = "index.json" if kind == SIMPLE_JSON else "index.html"
    more = {"Vary": "Accept", "Content-Type": HTML if kind == "text/html" else kind}
    return _file(site, path + name, request, more)


def _has_index(site: Site) -> bool:
    return (site / "index.html").is_file() if isinstance(site, Path) else site.exists("index.html")


def _file(site: Site, key: str, request: Request, more: dict[str, str] | None = None) -> Response:
    """Answer with one object, or 404. Links that lead out of the folder are not followed."""
    try:
        key = _place(site, key)
        response = _read(site / key, site, key, more) if isinstance(site, Path) else _whole(site.get(key), key, more)
    except (OSError, ObjectNotFound):
        return _absent(key)
    except StoreError as error:
        return PlainTextResponse(f"{error}\n", status_code=502)
    if _is_current(response.headers["etag"], request.headers.get("if-none-match", "")):
        return NotModifiedResponse(response.headers)
    return response


def _place(site: Site, key: str) -> str:
    """Return where an object lies: for a page of a dated view, in the state that the view's manifest names."""
    dated = _DATED.match(key)
    if dated is None or key[dated.end() :] in (VIEW_MANIFEST, "attestation.json"):
        return key
    try:
        day = date.fromisoformat(dated[1])
        name = view_manifest(day)
        view = read_view((site / name).read_bytes() if isinstance(site, Path) else site.get(name), day)
    except (ValueError, VerificationError) as error:
        raise ObjectNotFound(key) from error
    place = view.place(f"simple/{key[dated.end() :]}")
    if not place:
        raise ObjectNotFound(key)
    return place


def _read(target: Path, folder: Path, key: str, more: dict[str, str] | None) -> Response:
    """Answer with a file of the folder. Raises `OSError` when there is none, or a link leads out."""
    found = target.stat()
    if not stat.S_ISREG(found.st_mode) or not target.resolve().is_relative_to(folder.resolve()):
        raise FileNotFoundError(target)
    if headers(key)["Cache-Control"] == IMMUTABLE:
        return FileResponse(target, headers={**headers(key), **(more or {})}, stat_result=found)
    # read whole: a publish may replace it between the size in the header and the body
    return _whole(target.read_bytes(), key, more)


def _whole(data: bytes, key: str, more: dict[str, str] | None) -> Response:
    return Response(data, headers={**headers(key), "ETag": f'"{hashlib.sha256(data).hexdigest()}"', **(more or {})})


def _is_current(etag: str, known: str) -> bool:
    return known.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]


def _redirect(request: Request, path: str) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(quote(f"/{path}", safe="/@") + query, status_code=301)


def _absent(path: str) -> Response:
    hint = "Only tracked projects are in this index.\n" if _INDEX.match(path) else ""
    return PlainTextResponse(f"Not found.\n{hint}", status_code=404)


def _greeting(request: Request) -> Response:
    index = escape(f"{request.url.replace(path='/simple/', query='')}")
    return HTMLResponse(
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>kiln</title></head><body>\n<h1>kiln</h1>\n'
        f'<p>This is a <a href="simple/">package index</a>. Install from it with</p>\n'
        f"<pre>pip install --index-url {index} PROJECT</pre>\n</body></html>\n",
        headers={"Cache-Control": "no-cache"},
    )


def serve(site: Site, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve `site` until the process is interrupted. Raises `StoreError` when the port cannot be had."""
    with _listen(host, port) as listener:
        _server(site, access_log=True, log_level="info").run(sockets=[listener])


class SiteServer:
    """A context manager that serves `site` from a thread, on a free port when `port` is 0; `url` ends in a slash."""

    def __init__(self, site: Site, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._site, self._host, self._port = site, host, port
        self.url = ""

    def __enter__(self) -> Self:
        self._listener = _listen(self._host, self._port)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{host}:{self._listener.getsockname()[1]}/"
        self._server = _server(self._site, access_log=False, log_level="warning")
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                self._listener.close()
                raise StoreError(key=self.url, reason="the server ended before it began to serve")
            time.sleep(0.005)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


def _server(site: Site, *, access_log: bool, log_level: str) -> uvicorn.Server:
    # no lifespan, no websockets: there is nothing to start or stop, and connections that idle must not hold up the end
    return uvicorn.Server(
        uvicorn.Config(
            site_app(site), access_log=access_log, log_level=log_level, lifespan="off", ws="none", timeout_graceful_shutdown=3
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = f"cannot listen there: {os.strerror(error.errno or 0)}"
        raise StoreError(key=f"{host}:{port}", reason=reason, hint="choose another port") from error
