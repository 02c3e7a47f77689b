"""`kiln verify`: find the wheel, its site and the log key, then ask `stages.verify`. Loads no Dagster and no pandas.

Trust starts at the log's verifier key: given by flag, else pinned on first use per log origin under KILN_HOME.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from kiln_pipeline.core import site_layout
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.stages.verify import verify_wheel

TIMEOUT = (10, 60)
"""Seconds to connect, and between two bytes."""
MOST = 2**31
"""Bytes of the largest answer that is read."""


def verify(
    wheel: str, *, site: str | None, log_key: str | None, check_sdist: bool, environment: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return the story of a wheel, (check, fact) by (check, fact). Raises `VerificationError` at the first doubt."""
    data, filename = _read_wheel(wheel)
    base = site or _site_of(wheel)
    fetch = _fetcher(base)
    key, pinned = _log_key(log_key, base, fetch, environment)
    verified = verify_wheel(data, filename, fetch=fetch, log_key=key, sdist_fetch=_get if check_sdist else None)
    if not pinned:
        _pin(base, key, environment)
    return verified.story


def _is_url(text: str) -> bool:
    return urlsplit(text).scheme in ("http", "https")


def _read_wheel(wheel: str) -> tuple[bytes, str]:
    if _is_url(wheel):
        return _get(wheel), unquote(urlsplit(wheel).path.rpartition("/")[2])
    try:
        return Path(wheel).read_bytes(), Path(wheel).name
    except OSError as error:
        reason = error.strerror or str(error)
        raise VerificationError(subject=wheel, reason=reason, hint="give a wheel's path or URL") from None


def _site_of(wheel: str) -> str:
    """Return the site that a wheel lies in: what is above its ``wheels/``."""
    if _is_url(wheel):
        base, found, _ = wheel.rpartition("/wheels/")
        if found:
            return f"{base}/"
    else:
        folder = Path(wheel).resolve().parent
        if folder.name == "wheels":
            return str(folder.parent)
    raise VerificationError(
        subject=wheel, reason="it does not lie in the wheels/ of a site", hint="say which site with --site DIR_OR_URL"
    )


def _fetcher(base: str) -> Callable[[str], bytes]:
    if _is_url(base):
        root = base if base.endswith("/") else f"{base}/"
        return lambda key: _get(root + key.replace("+", "%2B"))

    def read(key: str) -> bytes:
        try:
            return (Path(base) / key).read_bytes()
        except FileNotFoundError:
            raise ObjectNotFound(key) from None
        except OSError as error:
            raise VerificationError(subject=key, reason=error.strerror or str(error)) from None

    return read


def _get(url: str) -> bytes:
    try:
        with requests.get(url, timeout=TIMEOUT, stream=True, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code == requests.codes.not_found:
                raise ObjectNotFound(url)
            answer.raise_for_status()
            body = bytearray()
            for chunk in answer.iter_content(2**20):
                body += chunk
                if len(body) > MOST:
                    raise VerificationError(subject=url, reason=f"the answer is over {MOST} bytes")
            return bytes(body)
    except requests.RequestException as error:
        raise VerificationError(
            subject=url, reason=f"could not be fetched: {error}", hint="verification fails closed; try again"
        ) from None


def _log_key(given: str | None, base: str, fetch: Callable[[str], bytes], environment: Mapping[str, str]) -> tuple[str, bool]:
    """Return (vkey, whether it was trusted before)."""
    if given is not None:
        path = Path(given)
        return (path.read_text(encoding="utf-8").strip() if "+" not in given and path.is_file() else given), True
    pins = _pins(environment)
    if base in pins:
        return pins[base], True
    return fetch(site_layout.LOG_KEY).decode("utf-8", errors="replace").strip(), False


def _pin_file(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("KILN_HOME", ".kiln")) / "keys" / "known_logs.json"


def _pins(environment: Mapping[str, str]) -> dict[str, str]:
    path = _pin_file(environment)
    try:
        pins = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise VerificationError(subject=str(path), reason=f"unreadable: {error}", hint="mend it, or give --log-key") from None
    if not isinstance(pins, dict) or not all(isinstance(value, str) for value in pins.values()):
        raise VerificationError(subject=str(path), reason="it is no table of sites and keys", hint="mend it, or give --log-key")
    return {str(site): str(key) for site, key in pins.items()}


def _pin(base: str, key: str, environment: Mapping[str, str]) -> None:
    path = _pin_file(environment)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_text(json.dumps({**_pins(environment), base: key}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    aside.replace(path)
