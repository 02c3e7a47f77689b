"""Load every extension module of the wheel in a folder; ends with 1 when a symbol is missing that the module needs.

Compilers let a call of a function that is gone pass with a warning, and linkers leave it to the interpreter: only loading tells.
A module that wants another project first, which is not there, is linked in full instead. Other exceptions may be this machine's
fault (a driver, a display): they are noted, and count only when asked to.

This file runs by itself with the Python that the wheel is for: standard library only, no import from kiln.

    python -I load_check.py FOLDER [strict]
"""

import ctypes
import importlib
import importlib.machinery
import os
import platform
import re
import sys
import tempfile
import zipfile
from pathlib import Path

MISSING = re.compile(r"undefined symbol|[Ss]ymbol not found")
OF_NO_MODULE = re.compile(r"\.libs/|\.dylibs/|\.data/(?:data|scripts|headers)/")


def modules(names):
    """Return (import name, path in the wheel) of the extension modules among a wheel's members, sorted."""
    found = []
    for name in sorted(names):
        suffix = next((end for end in importlib.machinery.EXTENSION_SUFFIXES if name.endswith(end)), "")
        stem = re.sub(r"^[^/]+\.data/(?:platlib|purelib)/", "", name[: len(name) - len(suffix)])
        if suffix and "." not in stem and not OF_NO_MODULE.search(name):
            found.append((stem.replace("/", "."), name))
    return found


def load(name, path, own):
    """Load one module; raises what its import does."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in own:
            raise
        ctypes.CDLL(str(path), os.RTLD_NOW)


def main(folder, *, strict):
    wheels = sorted(Path(folder).glob("*.whl"))
    machines = {"arm64", "x86_64", "aarch64"}
    for wheel in wheels:
        named = [machine for machine in machines if machine in wheel.name]
        if named and platform.machine() not in named and "universal2" not in wheel.name:
            print("kiln: built for another machine, and not loaded here")
            continue
        with tempfile.TemporaryDirectory() as unpacked, zipfile.ZipFile(str(wheel)) as archive:
            archive.extractall(unpacked)
            sys.path.insert(0, unpacked)
            own = {path.name.partition(".")[0] for path in Path(unpacked).iterdir()}
            for name, member in modules(archive.namelist()):
                try:
                    load(name, Path(unpacked, member), own)
                except BaseException as error:  # a module may even exit
                    words = f"{name}: {type(error).__name__}: {error}"
                    if strict or MISSING.search(str(error)):
                        sys.exit("kiln: the wheel does not load: " + words)
                    print("kiln: not imported here: " + words)


if __name__ == "__main__":
    main(sys.argv[1], strict="strict" in sys.argv[2:])
