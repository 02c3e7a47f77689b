"""Key files: made once, kept private, never replaced."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kiln_pipeline.adapters.keys import load_or_create
from kiln_pipeline.errors import StoreError, VerificationError


def test_a_key_is_made_once(tmp_path: Path):
    """The first use makes the file with mode 0600 and nothing beside it; the second reads the same key."""
    path = tmp_path / "keys" / "log.pem"
    first, second = load_or_create(path, "origin"), load_or_create(path, "origin")
    assert (first.name, first.public_key) == ("origin", second.public_key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    Ed25519PublicKey.from_public_bytes(first.public_key).verify(second.sign(b"message"), b"message")


def test_a_loose_umask_makes_no_loose_key(tmp_path: Path):
    before = os.umask(0)
    try:
        load_or_create(tmp_path / "log.pem", "origin")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log.pem").stat().st_mode) == 0o600


def test_two_processes_agree_on_one_key(tmp_path: Path):
    """Whoever comes second uses the key of the first."""
    with ThreadPoolExecutor(8) as pool:
        signers = list(pool.map(lambda _: load_or_create(tmp_path / "log.pem", "origin"), range(16)))
    assert {signer.public_key for signer in signers} == {signers[0].public_key}
    assert [path.name for path in tmp_path.iterdir()] == ["log.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int):
    path = tmp_path / "log.pem"
    load_or_create(path, "origin")
    path.chmod(mode)
    with pytest.raises(VerificationError, match="chmod 600"):
        load_or_create(path, "origin")


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\xff"])
def test_an_unreadable_key_is_never_replaced(tmp_path: Path, content: bytes):
    """It is refused, with what to do, and the file stays as it is."""
    path = tmp_path / "log.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(VerificationError, match="restore it from your backup"):
        load_or_create(path, "origin")
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_refused(tmp_path: Path):
    path = tmp_path / "log.pem"
    path.write_bytes(generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(VerificationError, match="not Ed25519"):
        load_or_create(path, "origin")


def test_a_folder_in_the_way(tmp_path: Path):
    """What the operating system refuses becomes a store error with a hint."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="mode 0700"):
        load_or_create(tmp_path / "file" / "log.pem", "origin")
    with pytest.raises(StoreError):
        load_or_create(tmp_path, "origin")
