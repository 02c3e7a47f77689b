"""DSSE v1 envelopes over in-toto statements, signed with Ed25519. Knows no statement's content and where no key is stored.

The legal order: `sign_envelope` (build host), `countersign` (publisher), `open_envelope` (anyone). Nothing of a payload is
looked at before its signatures are verified, except by `unverified_payload`, whose name says so.
Specification: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
"""

import base64
import binascii
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kiln_pipeline.core.strict_json import Table, parse_canonical
from kiln_pipeline.errors import VerificationError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_ENVELOPE = b'{"payload":"%%b","payloadType":"%b","signatures":[%%b]}\n' % PAYLOAD_TYPE.encode()


class SigningKey(Protocol):
    """What signing needs of an Ed25519 private key; `ports.Signer` is one."""

    name: str

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Envelope:
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """(key id, signature), in the order in which they were made."""


def key_id(public_key: bytes) -> str:
    """Return the id of an Ed25519 public key (32 raw bytes): the lower-case hex sha256 of those bytes."""
    return hashlib.sha256(public_key).hexdigest()


def sign_envelope(payload: bytes, signers: Sequence[SigningKey]) -> bytes:
    """Return a new envelope over `payload`, signed by all `signers` in their order: one line of canonical JSON and a newline."""
    signatures = tuple((key_id(signer.public_key), signer.sign(_pae(payload))) for signer in signers)
    return _render(_Envelope(payload=payload, signatures=signatures))


def countersign(envelope: bytes, signer: SigningKey) -> bytes:
    """Return the envelope with the signature of `signer` added last; the same envelope when it has signed already.

    Verify the envelope first. Raises `VerificationError` when `envelope` is no envelope.
    """
    parsed = _parse(envelope)
    own = key_id(signer.public_key)
    if any(keyid == own for keyid, _ in parsed.signatures):
        return envelope
    added = (*parsed.signatures, (own, signer.sign(_pae(parsed.payload))))
    return _render(_Envelope(payload=parsed.payload, signatures=added))


def open_envelope(envelope: bytes, *, keys: Mapping[str, bytes], required: Collection[str]) -> bytes:
    """Return the payload of an envelope that every key of `required` has signed, and nobody outside `keys`.

    `keys` maps key ids to raw public keys; each must be the id that `key_id` gives. Raises `VerificationError` for an unknown
    signer, a missing or wrong signature, and for any byte that the one spelling of this envelope would not have.
    """
    if not required:
        raise ValueError("an envelope that nobody has to sign proves nothing")
    parsed = _parse(envelope)
    signers = [keyid for keyid, _ in parsed.signatures]
    for wanted in required:
        if wanted not in signers:
            raise _error(f"the signature of key {wanted[:16]}… is missing")
    for keyid, signature in parsed.signatures:
        public_key = keys.get(keyid)
        if public_key is None or key_id(public_key) != keyid:
            raise _error(f"it is signed by an unknown key, {keyid[:16]}…", "is its build host enrolled, and not revoked?")
        if not signature_is_valid(public_key, signature, _pae(parsed.payload)):
            raise _error(f"the signature of key {keyid[:16]}… is wrong")
    return parsed.payload


def unverified_payload(envelope: bytes) -> bytes:
    """Return the payload without looking at the signatures: only to learn who should have signed it."""
    return _parse(envelope).payload


def signature_is_valid(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether `signature` is the Ed25519 signature (RFC 8032) of `message` by a raw 32-byte public key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def decode_base64(text: str, what: str, subject: str) -> bytes:
    """Decode standard base64 with padding, refusing every spelling but the one that encoding gives."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError(subject=subject, reason=f"{what} is no base64: {error}") from error
    if base64.b64encode(data).decode() != text:
        raise VerificationError(subject=subject, reason=f"{what} is no canonical base64: its bytes have been altered")
    return data


def _pae(payload: bytes) -> bytes:
    """PAE(type, body) = "DSSEv1" + SP + LEN(type) + SP + type + SP + LEN(body) + SP + body."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _render(envelope: _Envelope) -> bytes:
    """Canonical JSON as it stands, since none of its texts needs an escape: `_parse` refuses any other spelling."""
    signatures = [b'{"keyid":"%b","sig":"%b"}' % (keyid.encode(), base64.b64encode(sig)) for keyid, sig in envelope.signatures]
    return _ENVELOPE % (base64.b64encode(envelope.payload), b",".join(signatures))


def _parse(data: bytes) -> _Envelope:
    if data[-1:] != b"\n":
        raise _error("it does not end in a newline: is it truncated?")
    table = Table(parse_canonical(data[:-1], "DSSE envelope"), "DSSE envelope", fields={"payload", "payloadType", "signatures"})
    table.exactly("payloadType", PAYLOAD_TYPE)
    rows = table.tables("signatures", fields={"keyid", "sig"})
    signatures = tuple((row.sha256("keyid"), decode_base64(row.text("sig"), "a signature", "DSSE envelope")) for row in rows)
    if not signatures or len({keyid for keyid, _ in signatures}) != len(signatures):
        raise _error("it has no signature, or two by one key")
    return _Envelope(payload=decode_base64(table.text("payload"), "the payload", "DSSE envelope"), signatures=signatures)


def _error(reason: str, hint: str = "") -> VerificationError:
    return VerificationError(subject="DSSE envelope", reason=reason, hint=hint)
