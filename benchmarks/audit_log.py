"""The audit log at a million entries: appends per second, what a verification takes and fetches, and Go's tlog beside it.

The log is written by the product's own stage into a folder, batch by batch, each with its signed checkpoint and read back. A
verification starts from nothing, as a stranger's does: checkpoint, tiles, the entry's bundle; its inclusion in the newest tree
and the consistency of that tree with an older one. The promise is under 100 kB of the log fetched, all of these together. With
Go and Debian's golang-golang-x-mod-dev installed, the same million entries are hashed by Go's tlog too, in memory, as ours are.

    python benchmarks/audit_log.py [--entries 1000000] [--batch 1000] [--verifications 100]
"""

import argparse
import base64
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.keys import FileSigner
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import LogEntry, render_entry
from kiln_pipeline.core.audit_log.merkle import EMPTY_ROOT, leaf_hash, tree_root, verify_inclusion
from kiln_pipeline.core.audit_log.merkle import inclusion_proof as prove
from kiln_pipeline.core.audit_log.tiles import ENTRIES, TileReader, extend
from kiln_pipeline.stages.append import append, open_log

PROMISE = 100_000
GO_PACKAGES = Path("/usr/share/gocode")
GO = r"""
package main

import ("bufio"; "fmt"; "io"; "log"; "os"; "encoding/binary"; "time"; "golang.org/x/mod/sumdb/tlog")

type hashes []tlog.Hash

func (h *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes { found[i] = (*h)[index] }
	return found, nil
}

func main() {
	in, stored, n, spent := bufio.NewReader(os.Stdin), &hashes{}, int64(0), time.Duration(0)
	for length := make([]byte, 2); ; n++ {
		if _, err := io.ReadFull(in, length); err == io.EOF { break }
		entry := make([]byte, binary.BigEndian.Uint16(length))
		if _, err := io.ReadFull(in, entry); err != nil { log.Fatal(err) }
		start := time.Now()
		more, err := tlog.StoredHashes(n, entry, stored)
		if err != nil { log.Fatal(err) }
		*stored = append(*stored, more...)
		spent += time.Since(start)
	}
	root, err := tlog.TreeHash(n, stored)
	if err != nil { log.Fatal(err) }
	fmt.Println(spent.Seconds(), root)
}
"""


def entry(number: int) -> bytes:
    """Return an entry as large as real ones, each different in all its hashes."""
    digest = [hashlib.sha256(f"{number} {field}".encode()).hexdigest() for field in range(2)]
    attempt = f"grpcio==1.{number} cp311-manylinux_x86_64"
    return render_entry(LogEntry(attempt=attempt, statement=digest[0], wheel=digest[1], host_key=bytes(range(32))))


def batches(count: int, size: int) -> Iterator[list[bytes]]:
    for start in range(0, count, size):
        yield [entry(number) for number in range(start, min(start + size, count))]


def build(folder: Path, count: int, size: int, signer: FileSigner) -> float:
    """Append `count` entries through the product's stage and return the seconds that the stage took."""
    site, state = DirectoryStore(folder / "site"), DirectoryStore(folder / "state")
    spent = 0.0
    for batch in batches(count, size):
        start = time.perf_counter()
        append(open_log(site, state, signer), batch, site=site, state=state, signer=signer)
        spent += time.perf_counter() - start
    return spent


class Fetcher:
    """Reads a site's objects and counts their bytes: those of entry bundles, and all."""

    def __init__(self, site: DirectoryStore) -> None:
        self.site, self.fetched, self.bundles = site, 0, 0

    def __call__(self, key: str) -> bytes:
        data = self.site.get(key)
        self.fetched += len(data)
        if f"/{ENTRIES}/" in key:
            self.bundles += len(data)
        return data


def verify(fetch: Fetcher, key: VerifierKey, index: int, old: int) -> int:
    """Verify one entry as a stranger does; return the size of its proof in bytes."""
    checkpoint = open_checkpoint(fetch(site_layout.CHECKPOINT), key)
    reader = TileReader(checkpoint.size, checkpoint.root, fetch)
    (data,) = reader.entries(index, index + 1)
    assert data == entry(index)
    proof = prove(index, checkpoint.size, reader.node)
    verify_inclusion(leaf_hash(data), index, checkpoint.size, proof, checkpoint.root)
    tree_root(old, reader.node)
    return sum(map(len, proof))


def in_memory(count: int, size: int) -> tuple[float, bytes]:
    """Return the seconds that hashing and tiling take without any store, and the root."""
    tiles: dict[str, bytes] = {}
    reader, spent = TileReader(0, EMPTY_ROOT, tiles.__getitem__), 0.0
    for batch in batches(count, size):
        start = time.perf_counter()
        extension = extend(reader, batch)
        spent += time.perf_counter() - start
        tiles = {key: data for key, data in tiles.items() if not key.startswith(f"audit/tile/{ENTRIES}/")}
        tiles |= extension.objects
        reader = TileReader(extension.size, extension.root, tiles.__getitem__)
    return spent, reader.root


def in_go(folder: Path, count: int, size: int) -> tuple[float, str] | None:
    """Return the seconds that Go's tlog takes for the same entries in memory, and its root; None without Go."""
    if shutil.which("go") is None or not (GO_PACKAGES / "src/golang.org/x/mod/sumdb").is_dir():
        return None
    (folder / "peer.go").write_text(GO)
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GO_PACKAGES),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    subprocess.run(["go", "build", "-o", "peer", "peer.go"], check=True, cwd=folder, env=environment)
    with subprocess.Popen([folder / "peer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        for batch in batches(count, size):
            peer.stdin.write(b"".join(len(data).to_bytes(2, "big") + data for data in batch))
        peer.stdin.close()
        seconds, root = peer.stdout.read().decode().split()
    return float(seconds), root


def report_verifications(site: DirectoryStore, key: VerifierKey, entries: int, count: int) -> int:
    """Verify random entries against random older trees; print the figures and return the most bytes that one fetched."""
    chosen = random.Random(0)
    times, fetched, proofs, bundles = [], [], [], []
    for _ in range(count):
        fetch = Fetcher(site)
        start = time.perf_counter()
        proofs.append(verify(fetch, key, chosen.randrange(entries), chosen.randrange(1, entries + 1)))
        times.append(time.perf_counter() - start)
        fetched.append(fetch.fetched)
        bundles.append(fetch.bundles)
    print(f"verification: {1000 * statistics.median(times):.1f} ms, proof {max(proofs):,} B, fetched at most {max(fetched):,} B,")
    print(f"  of which {max(bundles):,} B are the bundle of 256 entries that the entry is in")
    whole = sum(len(site.get(name)) for name in site.keys(f"audit/tile/{ENTRIES}/"))
    print(f"the whole log is {whole:,} B: {whole / max(fetched):,.0f} times what a verification fetches")
    return max(fetched)


def report_peer(folder: Path, root: bytes, entries: int, batch: int) -> None:
    """Hash the same entries in memory, ours and Go's, and print both."""
    ours, own_root = in_memory(entries, batch)
    assert own_root == root
    print(f"hashing and tiling alone, in memory: {ours:.2f} s, {entries / ours:,.0f} entries/s")
    peer = in_go(folder, entries, batch)
    if peer is None:
        print("no Go here (golang-go, golang-golang-x-mod-dev): no peer to compare with")
        return
    assert peer[1] == base64.b64encode(root).decode(), "the peer has another root"
    print(f"Go's tlog, hashing alone, in memory: {peer[0]:.2f} s, ours / Go {ours / peer[0]:.2f}; same root")


def main() -> int:
    """Run and print everything; 1 when the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--verifications", type=int, default=100)
    options = parser.parse_args()
    signer = FileSigner("kiln.invalid/benchmark", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = build(folder, options.entries, options.batch, signer)
        print(f"{options.entries:,} entries in batches of {options.batch:,}, each read back and signed: {seconds:.1f} s,")
        print(f"  {options.entries / seconds:,.0f} entries/s")
        site, key = DirectoryStore(folder / "site"), VerifierKey.of(signer)
        fetched = report_verifications(site, key, options.entries, options.verifications)
        report_peer(folder, open_checkpoint(site.get(site_layout.CHECKPOINT), key).root, options.entries, options.batch)
    print(f"promise: under {PROMISE:,} B fetched: {'kept' if fetched < PROMISE else 'BROKEN'}")
    return 0 if fetched < PROMISE else 1


if __name__ == "__main__":
    sys.exit(main())
