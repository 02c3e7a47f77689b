"""Checkpoints and verifier keys: the specification's forms, and nothing but them."""

import pytest

from kiln_pipeline.core.audit_log.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from kiln_pipeline.core.provenance.dsse import decode_base64, signature_is_valid
from kiln_pipeline.errors import VerificationError
from kiln_pipeline_tests.fakes import MemorySigner

SIGNER = MemorySigner("python.build/kiln/test")
KEY = VerifierKey.of(SIGNER)
NOTE = sign_checkpoint(12, bytes(range(32)), SIGNER)


def test_a_note_opens():
    """What was signed comes back; the text is origin, size, root, blank line, signature."""
    assert open_checkpoint(NOTE, KEY) == Checkpoint(origin=SIGNER.name, size=12, root=bytes(range(32)))
    assert NOTE.decode().startswith(
        "python.build/kiln/test\n12\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— python.build/kiln/test "
    )


def test_verifier_keys():
    """A key survives its text form; the specification's example key parses."""
    assert VerifierKey.parse(f"{KEY}\n") == KEY
    example = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(VerifierKey.parse(example)) == example
    for altered in (example[:-1], example.replace("c74", "c75"), example.replace("Peter", "peter"), "x", "", example[13:]):
        with pytest.raises(VerificationError):
            VerifierKey.parse(altered)


def test_the_specifications_note_verifies():
    """signed-note's own example: its signature is by the key above (its text is no checkpoint, so it ends there)."""
    key = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    signed = decode_base64(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=", "sig", "note"
    )
    assert signed[:4] == key.hash
    assert signature_is_valid(key.public_key, signed[4:], text.encode())


def test_every_flipped_bit_is_refused():
    """No byte of a note is outside the verification."""
    for position in range(len(NOTE)):
        for bit in range(8):
            altered = bytearray(NOTE)
            altered[position] ^= 1 << bit
            with pytest.raises(VerificationError):
                open_checkpoint(bytes(altered), KEY)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + NOTE.splitlines(keepends=True)[-1],
        NOTE.replace(b"\n12\n", b"\n012\n"),
        NOTE.replace(b"\n\n", b"\nextension\n\n"),
        sign_checkpoint(12, bytes(31), SIGNER),
        sign_checkpoint(12, bytes(32), MemorySigner("python.build/kiln/other")),
    ],
)
def test_other_notes_are_refused(note: bytes):
    """Truncated, lengthened, respelled or another log's."""
    with pytest.raises(VerificationError):
        open_checkpoint(note, KEY)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\n"])
def test_names_that_cannot_stand_in_a_note(name: str):
    with pytest.raises(ValueError, match="cannot name a log"):
        VerifierKey.of(MemorySigner(name))
