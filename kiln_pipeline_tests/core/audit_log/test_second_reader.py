"""A reader that is not ours agrees: Go's sumdb packages (golang-go and golang-golang-x-mod-dev in Debian) over our files."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, sign_checkpoint
from kiln_pipeline.core.audit_log.merkle import consistency_proof, inclusion_proof
from kiln_pipeline.core.audit_log.tiles import tile_key
from kiln_pipeline_tests.core.audit_log.test_tiles import grown
from kiln_pipeline_tests.fakes import MemorySigner

PACKAGES = Path("/usr/share/gocode")
SIGNER = MemorySigner("kiln.invalid/test")
KEY = str(VerifierKey.of(SIGNER))
PROGRAM = Path(__file__).with_name("second_reader.go")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("go") is None or not (PACKAGES / "src/golang.org/x/mod/sumdb").is_dir(),
        reason="needs Debian's golang-go and golang-golang-x-mod-dev",
    ),
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program."""
    folder = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(PACKAGES), "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", folder / "reader", PROGRAM], check=True, env=environment, cwd=folder, timeout=300)
    return folder / "reader"


def written(folder: Path, *sizes: int):
    store, log = grown(*sizes)
    store.put("audit/checkpoint", sign_checkpoint(log.size, log.root, SIGNER))
    for key, data in store.objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return log


def run(reader: Path, folder: Path, key: str = KEY) -> subprocess.CompletedProcess[str]:
    return subprocess.run([reader, folder, key], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("sizes", [(1,), (3, 255), (256,), (100, 257), (1, 300, 777)])
def test_go_agrees(reader: Path, tmp_path: Path, sizes: tuple[int, ...]):
    """Note, tiles, entries: all verify; and each inclusion and consistency proof is the same, hash by hash."""
    log = written(tmp_path, *sizes)
    answer = run(reader, tmp_path)
    assert answer.returncode == 0, answer.stderr
    size = sizes[-1]
    ours = {
        "size": size,
        "inclusion": [list(inclusion_proof(index, size, log.node)) for index in range(size)],
        "consistency": [list(consistency_proof(old, size, log.node)) for old in range(1, size + 1)],
    }
    theirs = json.loads(answer.stdout)
    for kind in ("inclusion", "consistency"):
        theirs[kind] = [[base64.b64decode(part) for part in proof or []] for proof in theirs[kind]]
    assert theirs == ours


def test_go_refuses_what_we_refuse(reader: Path, tmp_path: Path):
    """The second reader really looks: another key and altered files fail there too."""
    written(tmp_path, 300)
    assert run(reader, tmp_path, str(VerifierKey.of(MemorySigner("kiln.invalid/other")))).returncode != 0
    for key in ("audit/checkpoint", tile_key(0, 0), tile_key(0, 1, 44), tile_key(1, 0, 1), tile_key("entries", 1, 44)):
        path = tmp_path / key
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        assert run(reader, tmp_path).returncode != 0, key
        path.write_bytes(data)
    assert run(reader, tmp_path).returncode == 0
