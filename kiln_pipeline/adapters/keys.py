"""Ed25519 private keys as PEM files of mode 0600. The only place that reads or makes private keys; nothing is signed for others.

A key is made once and never replaced: an unreadable one is an error, since a new key under an old name is another host or log.
"""

import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from kiln_pipeline.errors import StoreError, VerificationError


class FileSigner:
    """A `ports.Signer` whose private key lies in a file; `load_or_create` makes it."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self.name = name
        self._key = key
        self._public_key = key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes of the Ed25519 public key."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature (RFC 8032) of `message`."""
        return self._key.sign(message)


def load_or_create(path: Path, name: str) -> FileSigner:
    """Return the signer called `name` with the key in the file `path`, which is made when there is none.

    Raises `VerificationError` when others may read the file or it holds no Ed25519 key, and `StoreError` when it cannot be read
    or written. An existing file is never written to.
    """
    try:
        pem = _read(path)
        if pem is None:
            _create(path)
            pem = _read(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(key=str(path), reason=reason, hint="give this user the key's folder, mode 0700") from error
    if pem is None:
        raise StoreError(key=str(path), reason="it disappeared while it was being made", hint="run again")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(path, f"it holds no readable private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(path, "it holds a key that is not Ed25519")
    return FileSigner(name, key)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077:
                mode = f"its mode is {stat.S_IMODE(status.st_mode):04o}, so that others can read or change it"
                hint = "if nobody has read it, chmod 600 it; else make a new key elsewhere and enrol that one"
                raise VerificationError(subject=str(path), reason=mode, hint=hint)
            return file.read()
    except FileNotFoundError:
        return None


def _create(path: Path) -> None:
    """Write a new key aside, then link it to its name: whole or not at all, and never over a key that is there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            # a rename would replace the key that another process made meanwhile; a link refuses
            path.hardlink_to(aside)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        aside.unlink(missing_ok=True)


def _unusable(path: Path, reason: str) -> VerificationError:
    hint = "restore it from your backup; kiln never replaces a key, since signatures by a new one would not verify"
    return VerificationError(subject=str(path), reason=reason, hint=hint)
