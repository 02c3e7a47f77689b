"""The index in a container that has no network: a loopback port whose requests go through one socket of the host to `index_view`.

This file runs by itself in the container (Python 3.6 or later): standard library only, no import from kiln. What the index notes
comes along in a header, and is printed here, so that it stands in the build's log where the build asked.

    python -I -S index_door.py PORT SOCKET     serves in the background; returns when it answers
"""

import http.client
import os
import shutil
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn

NOTE = "Kiln-Note"
_ITS_OWN = ("date", "server", NOTE.lower())


class Connection(http.client.HTTPConnection):
    """A connection to the socket of the host."""

    def __init__(self, path: str) -> None:
        super().__init__("index", timeout=300)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Door(ThreadingMixIn, HTTPServer):
    """Serves one port of the loopback."""

    daemon_threads = True

    def __init__(self, port: int, path: str) -> None:
        self.path = path
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BaseHTTPRequestHandler):
    """Hands a request on and the answer back."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        connection = Connection(str(getattr(self.server, "path")))  # noqa: B009 (it is a Door)
        try:
            connection.request(self.command, self.path)
            answer = connection.getresponse()
            for note in answer.headers.get_all(NOTE) or []:
                print(note, file=sys.stderr, flush=True)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _ITS_OWN:
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                shutil.copyfileobj(answer, self.wfile)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            connection.close()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(port: str, path: str) -> None:
    """Serve in a process of its own, which lives as long as its container."""
    try:
        Connection(path).connect()
        door = Door(int(port), path)
    except OSError as error:
        sys.exit(f"kiln: index: the host's socket does not answer in the container: {error}")
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # the caller waits for the end of its output; the notes go on in the error stream
        os.dup2(null, stream)
    door.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
