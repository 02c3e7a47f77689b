"""The Merkle tree of RFC 6962: hashes, roots, inclusion and consistency proofs, and their verification. No storage layout.

A *node* (level, n) is the root of the complete subtree over the leaves ``n * 2**level`` to ``(n + 1) * 2**level``; it never
changes once it is complete. Roots and proofs of a tree of any size are made of such nodes, read through a `NodeReader`.
"""

import hashlib
from collections.abc import Callable, Sequence

from kiln_pipeline.errors import VerificationError

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""RFC 6962: the hash of an empty list is the hash of an empty string."""

Node = tuple[int, int]
NodeReader = Callable[[int, int], bytes]
"""(level, n) -> 32 bytes; the reader answers for their authenticity."""


def leaf_hash(entry: bytes) -> bytes:
    """Return ``SHA-256(0x00 || entry)``."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return ``SHA-256(0x01 || left || right)``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of neighbouring nodes of one level."""
    layer = list(hashes)
    if not layer or len(layer) & (len(layer) - 1):
        raise ValueError(f"{len(layer)} nodes make no complete subtree")
    while len(layer) > 1:
        layer = [node_hash(layer[i], layer[i + 1]) for i in range(0, len(layer), 2)]
    return layer[0]


def nodes_of(start: int, stop: int) -> list[Node]:
    """Return the nodes, from left to right, that make up the subtree over the leaves `start` to `stop` (exclusive).

    `start` is a multiple of the smallest power of two that is at least ``stop - start``, as in every RFC 6962 subtree.
    """
    nodes: list[Node] = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def subtree_root(start: int, stop: int, read: NodeReader) -> bytes:
    """Return the root of the subtree over the leaves `start` to `stop` (exclusive); see `nodes_of`."""
    if start == stop:
        return EMPTY_ROOT
    *rest, last = [read(level, n) for level, n in nodes_of(start, stop)]
    for left in reversed(rest):
        last = node_hash(left, last)
    return last


def tree_root(size: int, read: NodeReader) -> bytes:
    """Return the root hash of the tree of the first `size` leaves."""
    return subtree_root(0, size, read)


def inclusion_proof(index: int, size: int, read: NodeReader) -> tuple[bytes, ...]:
    """Return PATH(index, D[size]) of RFC 6962, section 2.1.1: from the leaf's sibling up."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[tuple[int, int]] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append((middle, stop))
            stop = middle
        else:
            path.append((start, middle))
            start = middle
    return tuple(subtree_root(*part, read) for part in reversed(path))


def consistency_proof(old: int, new: int, read: NodeReader) -> tuple[bytes, ...]:
    """Return PROOF(old, D[new]) of RFC 6962, section 2.1.2; empty when the sizes are equal. `old` is at least 1."""
    if not 0 < old <= new:
        raise ValueError(f"there is no consistency proof from {old} to {new} leaves")
    path: list[tuple[int, int]] = []
    start, stop, known = 0, new, True
    while old != stop:
        middle = start + _split(stop - start)
        if old <= middle:
            path.append((middle, stop))
            stop = middle
        else:
            path.append((start, middle))
            start, known = middle, False
    if not known:
        path.append((start, stop))
    return tuple(subtree_root(*part, read) for part in reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash is leaf `index` of the tree with `size` leaves and this root (RFC 9162, section 2.1.3.2).

    Raises `VerificationError`, also for a proof that is longer or shorter than the one right length.
    """
    if not 0 <= index < size:
        raise _error(f"leaf {index} is not in a tree of {size}")
    position, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _error("the inclusion proof is too long")
        if position & 1 or position == last:
            hashed = node_hash(sibling, hashed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or hashed != root:
        raise _error(f"the inclusion proof of leaf {index} does not lead to the root of the tree of {size}")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `old` leaves is the beginning of the tree of `new` ones (RFC 9162, section 2.1.4.2).

    Raises `VerificationError` when it is not: the log was rewritten or rolled back.
    """
    mismatch = _error(f"the log of {new} entries does not continue the log of {old}", "it was rolled back, rewritten or forked")
    if old > new or old < 0:
        raise mismatch
    if old in (0, new):
        if proof or (old == new and old_root != new_root) or (old == 0 and old_root != EMPTY_ROOT):
            raise mismatch
        return
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        raise mismatch
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_hash = new_hash = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise mismatch
        if position & 1 or position == last:
            old_hash, new_hash = node_hash(sibling, old_hash), node_hash(sibling, new_hash)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new_hash = node_hash(new_hash, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or old_hash != old_root or new_hash != new_root:
        raise mismatch


def _split(count: int) -> int:
    """Return the largest power of two smaller than `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _error(reason: str, hint: str = "") -> VerificationError:
    return VerificationError(subject="audit log", reason=reason, hint=hint)
