"""The verifier keys of logs that were trusted before: one JSON file, ``keys/known_logs.json`` under KILN_HOME, site by site."""

import json
import os
from pathlib import Path
from typing import cast

from kiln_pipeline.errors import StoreError, VerificationError

_HINT = "mend it, or give --log-key"


class KnownLogs:
    """Keys pinned on first use: site (URL or folder) -> verifier key (``name+hash+key``)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of_site(self, site: str) -> str | None:
        return self._read().get(site)

    def of_origin(self, origin: str) -> str | None:
        """Return the key of the log with this name; None when none or more than one is known."""
        keys = {key for key in self._read().values() if key.partition("+")[0] == origin}
        return keys.pop() if len(keys) == 1 else None

    def pin(self, site: str, key: str) -> None:
        """Trust `key` for `site` from now on. Raises `StoreError` when that cannot be written down."""
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        pins = {**self._read(), site: key}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            aside.write_text(json.dumps(pins, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            aside.replace(self._path)
        except OSError as error:
            reason, hint = error.strerror or str(error), "give --log-key, or set KILN_HOME to a folder of yours"
            raise StoreError(key=str(self._path), reason=reason, hint=hint) from None

    def _read(self) -> dict[str, str]:
        try:
            pins: object = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise VerificationError(subject=str(self._path), reason=f"unreadable: {error}", hint=_HINT) from None
        if not isinstance(pins, dict) or not all(isinstance(key, str) for key in cast("dict[object, object]", pins).values()):
            raise VerificationError(subject=str(self._path), reason="it is no table of sites and keys", hint=_HINT)
        return cast("dict[str, str]", pins)
