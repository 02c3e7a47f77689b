"""Programs of ours that run inside a build's container: how their text gets there, since nothing of the host is mounted."""

import base64
import shlex
import zlib
from pathlib import Path


def place(program: Path, target: str) -> str:
    """Return the shell command that writes `program` to the path `target` of a container that has a ``python``.

    It is packed, since the command stands in every log.
    """
    packed = base64.b64encode(zlib.compress(program.read_bytes(), 9)).decode()
    unpack = f"import base64, zlib; open('{target}', 'wb').write(zlib.decompress(base64.b64decode('{packed}')))"
    return f"python -c {shlex.quote(unpack)}"
