"""Reads a published site as a stranger does: over HTTP, or from a folder. Believes nothing; `stages.verify` decides that."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests

from kiln_pipeline.errors import ObjectNotFound, VerificationError

TIMEOUT = (10, 60)
"""Seconds to connect, and between two bytes."""
MOST = 2**31
"""Bytes of the largest answer that is read."""
_CHUNK = 2**20


def is_url(text: str) -> bool:
    return urlsplit(text).scheme in ("http", "https")


class SiteReader:
    """The objects of one site by key. Each is read once, so that all that is verified together is of one moment."""

    def __init__(self, base: str) -> None:
        """Take the site's URL or folder."""
        self._read = _over_http(base) if is_url(base) else _in_folder(Path(base))
        self._objects: dict[str, bytes] = {}

    def __call__(self, key: str) -> bytes:
        """Return the bytes under `key`. Raises `ObjectNotFound`, or `VerificationError` when the site cannot be read."""
        if key.startswith("wheels/") and key.endswith(".whl"):
            return self._read(key)  # the large ones, and each is asked for once
        if key not in self._objects:
            self._objects[key] = self._read(key)
        return self._objects[key]


def get(url: str) -> bytes:
    """Return the body behind a URL. Raises `ObjectNotFound` for 404, `VerificationError` for any other failure to read it."""
    try:
        with requests.get(url, timeout=TIMEOUT, stream=True, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code == requests.codes.not_found:
                raise ObjectNotFound(url)
            answer.raise_for_status()
            body = bytearray()
            for chunk in answer.iter_content(_CHUNK):
                body += chunk
                if len(body) > MOST:
                    raise VerificationError(subject=url, reason=f"the answer is over {MOST} bytes")
            return bytes(body)
    except requests.RequestException as error:
        hint = (
            "verification fails closed; try again, or use --offline with the .provenance.json that was downloaded with the wheel"
        )
        raise VerificationError(subject=url, reason=f"could not be fetched: {error}", hint=hint) from None


def _over_http(base: str) -> Callable[[str], bytes]:
    root = base if base.endswith("/") else f"{base}/"
    return lambda key: get(root + key.replace("+", "%2B"))


def _in_folder(folder: Path) -> Callable[[str], bytes]:
    def read(key: str) -> bytes:
        try:
            return (folder / key).read_bytes()
        except FileNotFoundError:
            raise ObjectNotFound(key) from None
        except OSError as error:
            raise VerificationError(subject=key, reason=error.strerror or str(error)) from None

    return read
