"""What the repair step did to a wheel, noted in the build log: the wheel before it, and whose the libraries are that it bundled.

This file also runs by itself where the build runs, in a container or on a Mac, with the target's own Python (3.6 or later):
standard library only, no import from kiln. It asks the system's package manager (rpm, dpkg, apk, Homebrew's cellar), and says
nothing of a library that no package owns. A failure of its own never fails a build.

    python -I -S repair_notes.py before WHEEL    kiln: before repair: NAME sha256=…
    python -I -S repair_notes.py after FOLDER    kiln: bundled: {"file": …, "license": …, "package": …, "purl": …, "version": …}
"""

import glob
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import zipfile

_BUNDLED = re.compile(r"(?:^|/)(?:[^/]*\.libs|\.dylibs)/(?P<file>[^/]+)$")
_HASH = re.compile(r"-[0-9a-f]{8}(?=\.)")
"""What auditwheel puts into the name of a library that it copies."""
_FOLDERS = ("/usr/local/lib*", "/usr/lib*", "/usr/lib*/*", "/lib*", "/lib*/*", "/opt/rh/*/root/usr/lib*")
_CELLARS = ("/opt/homebrew/Cellar", "/usr/local/Cellar")


def before(wheel: str) -> str:
    """Return the line that says which wheel the repair step was given."""
    with open(wheel, "rb") as file:  # noqa: PTH123 (as everywhere here: what old Pythons have, and fast to import)
        digest = hashlib.sha256(file.read()).hexdigest()
    return f"kiln: before repair: {os.path.basename(wheel)} sha256={digest}"  # noqa: PTH119


def after(folder: str) -> "list[str]":
    """Return a line for each library that was bundled into the wheel in `folder` and that a package of the system owns."""
    lines = []
    for wheel in glob.glob(os.path.join(folder, "*.whl")):  # noqa: PTH118, PTH207
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(match["file"] for match in map(_BUNDLED.search, archive.namelist()) if match)
        for name in names:
            origin = _in_a_cellar(_HASH.sub("", name)) or _in_the_system(_HASH.sub("", name))
            if origin:
                lines.append("kiln: bundled: " + json.dumps(dict(origin, file=name), sort_keys=True))
    return lines


def _in_the_system(name: str) -> "dict[str, str] | None":
    for folder in _FOLDERS:
        for path in sorted(glob.glob(os.path.join(folder, name))):  # noqa: PTH118, PTH207
            for path_or_target in (path, os.path.realpath(path)):
                for ask in (_rpm, _dpkg, _apk):
                    origin = ask(path_or_target)
                    if origin:
                        return origin
    return None


def _rpm(path: str) -> "dict[str, str] | None":
    answer = _ask("rpm", "-qf", "--qf", "%{NAME}\t%{VERSION}-%{RELEASE}\t%{LICENSE}\t%{ARCH}\n", path).splitlines()
    fields = answer[0].split("\t") if answer else []
    return _origin("rpm", fields[0], fields[1], fields[2], fields[3]) if len(fields) == 4 else None


def _dpkg(path: str) -> "dict[str, str] | None":
    owner = _ask("dpkg", "-S", path).partition(": ")[0].split(",")[0].strip()
    fields = _ask("dpkg-query", "-W", "-f", "${Package}\t${Version}\t${Architecture}", owner).split("\t") if owner else []
    if len(fields) != 3:
        return None
    try:
        with open(f"/usr/share/doc/{fields[0]}/copyright", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            stated = re.findall(r"^License: *(\S.*)$", file.read(), re.MULTILINE)
    except OSError:
        stated = []
    return _origin("deb", fields[0], fields[1], " AND ".join(sorted(set(map(str.strip, stated)))), fields[2])


def _apk(path: str) -> "dict[str, str] | None":
    owner = re.search(r"is owned by (\S+)-(\d\S*-r\d+)$", _ask("apk", "info", "--who-owns", path).strip())
    if owner is None:
        return None
    stated = [line for line in _ask("apk", "info", "--license", owner[1]).splitlines() if line and not line.endswith(":")]
    return _origin("apk", owner[1], owner[2], stated[0].strip() if stated else "", platform.machine())


def _in_a_cellar(name: str) -> "dict[str, str] | None":
    """Return the Homebrew formula whose library this is; its licence stands in the formula that Homebrew keeps beside it."""
    for cellar in _CELLARS:
        for path in sorted(glob.glob(os.path.join(cellar, "*", "*", "lib", name))):  # noqa: PTH118, PTH207
            formula, version = path[len(cellar) + 1 :].split("/")[:2]
            try:
                with open(f"{cellar}/{formula}/{version}/.brew/{formula}.rb", encoding="utf-8") as file:  # noqa: PTH123
                    stated = re.search(r'^ *license "([^"]+)"', file.read(), re.MULTILINE)
            except OSError:
                stated = None
            return _origin("brew", formula, version, stated[1] if stated else "", "")
    return None


def _origin(kind: str, package: str, version: str, stated: str, machine: str) -> "dict[str, str]":
    """Return one library's origin; its package URL has the distribution's id as namespace (https://github.com/package-url)."""
    purl = f"pkg:brew/{package}@{version}"
    if kind != "brew":
        purl = f"pkg:{kind}/{_distribution()}/{package}@{version}?arch={machine}"
    return {"package": package, "version": version, "license": stated, "purl": purl}


def _distribution() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:  # noqa: PTH123
            return re.findall(r"^ID=\"?([\w.-]+)", file.read(), re.MULTILINE)[0]
    except (OSError, IndexError):
        return "linux"


def _ask(*command: str) -> str:
    try:
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.decode("utf-8", errors="replace")


if __name__ == "__main__":
    try:
        print(before(sys.argv[2]) if sys.argv[1] == "before" else "\n".join(after(sys.argv[2])))
    except Exception as error:
        print(f"kiln: the repair step could not be noted: {error!r}")
