"""Envelopes: whoever must sign has signed, nobody else has, and every byte counts."""

import base64
import json

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from kiln_pipeline.core.provenance.dsse import countersign, key_id, open_envelope, sign_envelope, unverified_payload
from kiln_pipeline.errors import VerificationError
from kiln_pipeline_tests.fakes import MemorySigner

HOST, LOG, STRANGER = MemorySigner("host"), MemorySigner("log"), MemorySigner("stranger")
KEYS = {key_id(signer.public_key): signer.public_key for signer in (HOST, LOG)}
BOTH = tuple(KEYS)
PAYLOAD = '{"a":"é"}'.encode()


def test_a_countersigned_envelope_opens():
    """The publisher adds its signature to the host's, once; both are required and found."""
    envelope = countersign(sign_envelope(PAYLOAD, [HOST]), LOG)
    assert open_envelope(envelope, keys=KEYS, required=BOTH) == PAYLOAD
    assert countersign(envelope, LOG) == envelope == sign_envelope(PAYLOAD, [HOST, LOG])
    assert unverified_payload(envelope) == PAYLOAD


def test_another_implementation_agrees():
    """securesystemslib's DSSE verifies our envelope with both keys."""
    envelope = Envelope.from_dict(json.loads(sign_envelope(PAYLOAD, [HOST, LOG])))
    keys = [SSlibKey(keyid, "ed25519", "ed25519", {"public": public.hex()}) for keyid, public in KEYS.items()]
    assert envelope.verify(keys, 2).keys() == KEYS.keys()


def test_every_flipped_bit_is_refused():
    """No byte of an envelope is outside the verification."""
    envelope = sign_envelope(PAYLOAD, [HOST, LOG])
    for position in range(len(envelope)):
        for bit in range(8):
            altered = bytearray(envelope)
            altered[position] ^= 1 << bit
            with pytest.raises(VerificationError):
                open_envelope(bytes(altered), keys=KEYS, required=BOTH)


@pytest.mark.parametrize("length", [0, 1, 40, -1])
def test_a_truncated_envelope_is_refused(length: int):
    """A download that broke off is no envelope."""
    with pytest.raises(VerificationError):
        open_envelope(sign_envelope(PAYLOAD, [HOST, LOG])[:length], keys=KEYS, required=BOTH)


@pytest.mark.parametrize("signers", [[HOST], [LOG], [HOST, STRANGER], [HOST, LOG, STRANGER], []])
def test_missing_and_unknown_signers_are_refused(signers: list[MemorySigner]):
    """A required signature is missing, or somebody unknown has signed too."""
    with pytest.raises(VerificationError):
        open_envelope(sign_envelope(PAYLOAD, signers), keys=KEYS, required=BOTH)


def test_a_key_under_another_keys_id_is_refused():
    """A key id is a hash of the key: the mapping cannot lend one key's name to another."""
    with pytest.raises(VerificationError):
        open_envelope(sign_envelope(PAYLOAD, [HOST]), keys={BOTH[0]: STRANGER.public_key}, required=BOTH[:1])


def test_requiring_nobody_is_a_mistake():
    with pytest.raises(ValueError, match="proves nothing"):
        open_envelope(sign_envelope(PAYLOAD, [HOST]), keys=KEYS, required=())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"payload":', b'{ "payload":'),
        (b'{"payload":', b'{"payload":"","payload":'),
        (b'"payloadType":"application/vnd.in-toto+json"', b'"payloadType":"text/plain"'),
        (b'{"payload":', b'{"extra":1,"payload":'),
        (base64.b64encode(PAYLOAD), base64.urlsafe_b64encode(PAYLOAD + b"?>")),
        (base64.b64encode(b"{}"), b"e31="),
        (b'"signatures":', b'"signatures":"x","z":'),
    ],
)
def test_strict_parsing(old: bytes, new: bytes):
    """Spaces, double keys, unknown fields, another type, base64 in another spelling: all refused."""
    payload = b"{}" if new == b"e31=" else PAYLOAD
    envelope = sign_envelope(payload, [HOST, LOG])
    assert old in envelope
    with pytest.raises(VerificationError):
        open_envelope(envelope.replace(old, new), keys=KEYS, required=BOTH)
