"""Checkpoints: the log's size and root hash as a signed note, and the verifier key that a reader pins. No trees, no storage.

Specifications: https://github.com/C2SP/C2SP/blob/main/signed-note.md and https://github.com/C2SP/C2SP/blob/main/tlog-checkpoint.md.
Stricter than these on purpose: exactly one signature, no extension lines, one spelling, so that every byte is verified.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Self

from kiln_pipeline.core.provenance.dsse import SigningKey, decode_base64, signature_is_valid
from kiln_pipeline.errors import VerificationError

_ED25519 = b"\x01"
"""The signature type identifier of Ed25519 in signed notes."""
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SUBJECT = "audit log checkpoint"


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierKey:
    """The audit log's public key under its name, which is also the checkpoint's origin line."""

    name: str
    public_key: bytes

    @classmethod
    def of(cls, signer: SigningKey) -> Self:
        """Raises `ValueError` when the signer's name cannot stand in a signed note."""
        if not _NAME.fullmatch(signer.name):
            raise ValueError(f"{signer.name!r} cannot name a log: no white space and no '+'")
        return cls(name=signer.name, public_key=signer.public_key)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``<name>+<hash>+<keydata>``, one newline at the end allowed. Raises `VerificationError`."""
        name, _, rest = text.removesuffix("\n").partition("+")
        digest, _, encoded = rest.partition("+")
        data = decode_base64(encoded, "the key", "log key")
        if len(data) != 33 or data[:1] != _ED25519:
            raise VerificationError(subject="log key", reason="it is no Ed25519 verifier key of the form name+hash+key")
        key = cls(name=name, public_key=data[1:])
        if not _NAME.fullmatch(name) or key.hash.hex() != digest:
            raise VerificationError(subject="log key", reason="its hash does not fit its name and key: it was altered")
        return key

    @property
    def hash(self) -> bytes:
        """The key hash of signed notes: ``SHA-256(<name> || 0x0A || 0x01 || <public key>)[:4]``."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.hash.hex()}+{base64.b64encode(_ED25519 + self.public_key).decode()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """The log at one moment: how many entries, and the root hash (32 bytes) over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed: origin, size in decimal, root hash in base64, each on a line."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_checkpoint(size: int, root: bytes, signer: SigningKey) -> bytes:
    """Return the signed note of a checkpoint; its origin is the signer's name."""
    key = VerifierKey.of(signer)
    text = Checkpoint(origin=key.name, size=size, root=root).text
    signature = base64.b64encode(key.hash + signer.sign(text.encode())).decode()
    return f"{text}\n\N{EM DASH} {key.name} {signature}\n".encode()


def open_checkpoint(note: bytes, key: VerifierKey) -> Checkpoint:
    """Verify a signed note and return its checkpoint. Raises `VerificationError`, also for another log's or key's note."""
    try:
        lines = note.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _error("it is not UTF-8") from error
    if len(lines) != 6 or lines[3] or lines[5]:
        raise _error("it is not three lines, an empty line and one signature")
    origin, size, root, _, signature_line, _ = lines
    prefix = f"\N{EM DASH} {key.name} "
    if origin != key.name or not signature_line.startswith(prefix):
        raise _error(f"it is another log's: the pinned key is for {key.name}")
    if not _SIZE.fullmatch(size):
        raise _error("its size is no decimal number")
    signed = decode_base64(signature_line.removeprefix(prefix), "its signature", _SUBJECT)
    checkpoint = Checkpoint(origin=origin, size=int(size), root=decode_base64(root, "its root hash", _SUBJECT))
    if signed[:4] != key.hash or len(checkpoint.root) != 32:
        raise _error("it is signed by another key than the pinned one")
    if not signature_is_valid(key.public_key, signed[4:], checkpoint.text.encode()):
        raise _error("its signature is wrong")
    return checkpoint


def _error(reason: str) -> VerificationError:
    return VerificationError(subject=_SUBJECT, reason=reason, hint="do not trust this site until it is explained")
