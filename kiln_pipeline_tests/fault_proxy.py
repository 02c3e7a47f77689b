"""An HTTP proxy on 127.0.0.1 before a real server, which does to requests and answers what networks and services do.

The `Host` header goes through as it came, so that a signed request stays valid. By chance, from one seed, a request is refused
(403, 429, 500, 503), answered late, cut off in its body or in its answer, or carried out without the answer coming back.
"""

import http.client
import random
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Literal, Self
from urllib.parse import urlsplit

Fault = Literal["403", "429", "500", "503", "slow", "truncated", "half-sent", "answer-lost"]
FAULTS: tuple[Fault, ...] = ("403", "429", "500", "503", "slow", "truncated", "half-sent", "answer-lost")
_CODES = {"403": "AccessDenied", "429": "TooManyRequests", "500": "InternalError", "503": "SlowDown"}


class FaultProxy:
    """Stands before `endpoint`; `url` is its own. `chance` is how many of the requests meet a fault."""

    def __init__(self, endpoint: str, *, seed: int, chance: float) -> None:
        self.target = urlsplit(endpoint).netloc
        self.rng, self.chance, self.lock = random.Random(seed), chance, Lock()
        self.met: list[Fault] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_fault(self) -> Fault | None:
        with self.lock:
            if self.rng.random() >= self.chance:
                return None
            self.met.append(self.rng.choice(FAULTS))
            return self.met[-1]


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        fault = self.proxy.next_fault()
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if fault in _CODES:
            self._send(int(fault), {}, f"<Error><Code>{_CODES[fault]}</Code><Message>no</Message></Error>".encode())
            return
        if fault == "half-sent" and len(body) > 1:
            self._pass_on_half(body)
            self._hang_up()
            return
        if fault == "slow":
            time.sleep(0.05)
        status, headers, answer = self._pass_on(body)
        if fault == "answer-lost":
            self._hang_up()
        else:
            self._send(status, headers, answer, cut=fault == "truncated" and len(answer) > 1)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.proxy.target, timeout=30)
        try:
            connection.request(self.command, self.path, body or None, dict(self.headers))
            answer = connection.getresponse()
            headers = {
                name: value for name, value in answer.getheaders() if name.lower() not in ("connection", "transfer-encoding")
            }
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def _pass_on_half(self, body: bytes) -> None:
        """The server gets the head and half of the body, and then nothing more."""
        host, _, port = self.proxy.target.partition(":")
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"{self.command} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body[: len(body) // 2])

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        if self.command != "HEAD" or "Content-Length" not in headers:
            headers = {**headers, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
