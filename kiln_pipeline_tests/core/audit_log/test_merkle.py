"""The Merkle tree against RFC 6962's own recursive definitions, for every small tree."""

import hashlib
from collections.abc import Sequence

import pytest

from kiln_pipeline.core.audit_log.merkle import (
    EMPTY_ROOT,
    complete_root,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from kiln_pipeline.errors import VerificationError

LEAVES = [str(number).encode() for number in range(35)]
SIZES = range(1, len(LEAVES) + 1)


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def read(level: int, n: int) -> bytes:
    return complete_root([leaf_hash(leaf) for leaf in LEAVES[n << level : (n + 1) << level]])


ROOTS = [naive_root(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def test_roots():
    """Folding complete nodes gives the RFC's recursive root."""
    assert [tree_root(size, read) for size in range(len(LEAVES) + 1)] == ROOTS
    assert ROOTS[0] == EMPTY_ROOT


def test_the_rfcs_test_vectors():
    """The reference log's eight leaves and their root, as certificate-transparency's own tests have them."""
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    assert naive_root([bytes.fromhex(leaf) for leaf in leaves]).hex() == (
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    )


def test_every_inclusion_proof():
    """Each leaf's proof holds in each tree, and fails for another leaf, index, size, root and for a longer or shorter path."""
    for size in SIZES:
        for index in range(size):
            leaf, proof = leaf_hash(LEAVES[index]), inclusion_proof(index, size, read)
            verify_inclusion(leaf, index, size, proof, ROOTS[size])
            wrong = [
                (leaf_hash(b"other"), index, size, proof, ROOTS[size]),
                (leaf, index, size, proof, ROOTS[size - 1]),
                (leaf, index, size, (*proof, bytes(32)), ROOTS[size]),
                (leaf, size, size, proof, ROOTS[size]),
                (leaf, -1, size, proof, ROOTS[size]),
            ]
            wrong += [(leaf, other, size, proof, ROOTS[size]) for other in range(size) if other != index]
            if proof:
                wrong += [(leaf, index, size, proof[:-1], ROOTS[size]), (leaf, index, size, proof[::-1] + proof, ROOTS[size])]
            for arguments in wrong:
                with pytest.raises(VerificationError):
                    verify_inclusion(*arguments)


def test_every_consistency_proof():
    """Each tree continues each smaller one, and no other root, size or path passes for it."""
    for new in SIZES:
        verify_consistency(0, EMPTY_ROOT, new, ROOTS[new], ())
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, read)
            verify_consistency(old, ROOTS[old], new, ROOTS[new], proof)
            wrong = [
                (old, bytes(32), new, ROOTS[new], proof),
                (old, ROOTS[old], new, bytes(32), proof),
                (old, ROOTS[old], new, ROOTS[new], (*proof, bytes(32))),
                (new + 1, ROOTS[old], new, ROOTS[new], proof),
                (0, ROOTS[old], new, ROOTS[new], proof),
            ]
            if proof:
                wrong += [(old, ROOTS[old], new, ROOTS[new], proof[:-1]), (old, ROOTS[old], new, ROOTS[new], ())]
            for arguments in wrong:
                with pytest.raises(VerificationError):
                    verify_consistency(*arguments)


def test_questions_that_make_no_sense():
    for call in (
        lambda: complete_root(()),
        lambda: complete_root((b"", b"", b"")),
        lambda: inclusion_proof(3, 3, read),
        lambda: consistency_proof(0, 3, read),
        lambda: consistency_proof(4, 3, read),
    ):
        with pytest.raises(ValueError, match=r"no|not"):
            call()
