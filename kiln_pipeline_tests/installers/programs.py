"""The installers, as their users run them: each in an environment of its own, each with its own project file and lock.

One project is locked and installed for each `Wish`; what came of it is read from the environment that it was installed into.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self

from uv import find_uv_bin

from kiln_pipeline.adapters.page_templates import JinjaTemplates
from kiln_pipeline_tests.installers.world import CUTOFF, HERE, NOW, File, sha256

SUITE = Path(__file__).parent
EXAMPLE = ("markupsafe", "2.0.1")
"""The release in README's snippets."""
TEMPLATES = JinjaTemplates()


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user wants installed, and how the index is configured."""

    requirements: tuple[str, ...] = ()
    """PEP 508; ``{site}`` stands for the site's address, ``{vendor}`` for a folder with our wheels."""
    index: Literal["only", "first", "snippet", "markers", "markers with and"] = "only"
    """Ours alone; ours before upstream; as README's snippets say; as Poetry's says with `and` for `or`."""
    cutoff: bool = False
    """Nothing newer than `world.CUTOFF`."""
    only_binary: bool = False
    """Nothing that would be compiled."""
    view: str = "simple"
    """``simple@<date>`` for a dated view."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an installer did."""

    installed: Mapping[str, str]
    """Project -> ``version``, or ``version-build`` for a wheel with a build tag."""
    lock: str
    output: str
    ok: bool = True


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the indexes are, each URL with its last slash."""

    site: str
    upstream: str
    vendor: Path

    def fill(self, requirement: str) -> str:
        return requirement.format(site=self.site, vendor=self.vendor.as_uri(), tag=HERE)


@dataclass(frozen=True)
class Folder:
    """A project's folder with an environment in it, and the installer's home."""

    path: Path
    log: list[str] = field(default_factory=list[str])

    @classmethod
    def made(cls, path: Path) -> Self:
        path.mkdir(parents=True)
        folder = cls(path)
        folder.run(find_uv_bin(), "venv", "--quiet", "--no-config", "--python", sys.executable, ".venv")
        return folder

    @property
    def python(self) -> Path:
        return self.path / ".venv" / "bin" / "python"

    def run(self, *command: str | Path, **environment: str) -> bool:
        """Run a command with nobody's settings but these; return whether it succeeded."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        home = {
            "HOME": str(self.path / "home"),
            "PIP_CONFIG_FILE": os.devnull,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }
        done = subprocess.run(
            command, cwd=self.path, env={**kept, **home, **environment}, text=True, capture_output=True, check=False, timeout=120
        )
        self.log.append(f"$ {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return done.returncode == 0

    def outcome(self, lock: str, ok: bool) -> Outcome:
        installed: dict[str, str] = {}
        for info in sorted(self.path.glob(".venv/lib/python*/site-packages/*.dist-info")):
            name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
            lines = (info / "WHEEL").read_text().splitlines()
            build = next((line.partition(": ")[2] for line in lines if line.startswith("Build: ")), "")
            installed[name.replace("_", "-")] = f"{version}-{build}" if build else version
        text = (self.path / lock).read_text() if (self.path / lock).exists() else ""
        return Outcome(installed=installed, lock=text, output="".join(self.log), ok=ok)


class Program(Protocol):
    """An installer."""

    name: str
    lock: str
    """Its lock's filename."""

    def install(self, folder: Folder, wish: Wish, at: Addresses) -> Outcome:
        """Write the project, lock it, and install the lock."""
        ...

    def make_lock(self, folder: Folder, wish: Wish, at: Addresses) -> Outcome:
        """Write the project and lock it."""
        ...

    def install_lock(self, folder: Folder, wish: Wish, at: Addresses, lock: str) -> Outcome:
        """Install a lock that was made earlier, for the same wish, without resolving again."""
        ...

    def lists(self, folder: Folder, at: Addresses, lock: str, file: File) -> bool:
        """Whether a file for another platform can be had: by a lock that pins its release, or in another way."""
        ...


def snippet(name: str, at: Addresses) -> str:
    """Return one of the site's snippets, which are README's too, for the site under test."""
    return f"{TEMPLATES.snippet(name, f'{at.site}simple/', *EXAMPLE)}\n"


@dataclass(frozen=True)
class Pip:
    """Its lock is a requirements file with the hashes that `pip install --report` tells."""

    home: Path
    name: str = "pip"
    lock: str = "requirements.txt"

    def install(self, folder: Folder, wish: Wish, at: Addresses) -> Outcome:
        done = self.make_lock(folder, wish, at)
        return self.install_lock(folder, wish, at, done.lock) if done.ok else done

    def make_lock(self, folder: Folder, wish: Wish, at: Addresses) -> Outcome:
        report = folder.path / "report.json"
        asked = ["--dry-run", "--report", report, *map(at.fill, wish.requirements)]
        if not self._run(folder, "install", *self._where(wish, at), *asked):
            return folder.outcome(self.lock, ok=False)
        pins: list[str] = []
        for item in json.loads(report.read_text())["install"]:
            name, version = item["metadata"]["name"], item["metadata"]["version"]
            pin = f"{name} @ {item['download_info']['url']}" if item["is_direct"] else f"{name}=={version}"
            pins.append(f"{pin} --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}\n")
        (folder.path / self.lock).write_text("".join(pins))
        return folder.outcome(self.lock, ok=True)

    def install_lock(self, folder: Folder, wish: Wish, at: Addresses, lock: str) -> Outcome:
        (folder.path / self.lock).write_text(lock)
        where = self._where(wish, at)
        return folder.outcome(self.lock, self._run(folder, "install", *where, "--require-hashes", "-r", self.lock))

    def lists(self, folder: Folder, at: Addresses, lock: str, file: File) -> bool:
        project, version, _, _, platform = file.filename.removesuffix(".whl").split("-")
        elsewhere = ["--platform", platform, "--only-binary", ":all:", "--no-deps", "--dest", folder.path]
        self._run(folder, "download", *self._where(Wish(), at), *elsewhere, f"{project}=={version}")
        return (folder.path / file.filename).exists()

    def _run(self, folder: Folder, command: str, *arguments: str | Path) -> bool:
        return folder.run(self.home / "bin" / "pip", "--python", folder.python, command, *arguments)

    def _where(self, wish: Wish, at: Addresses) -> list[str]:
        # the options of README's shell lines; what they leave to pip's own settings is the upstream here
        theirs = ["--index-url", f"{at.upstream}simple/"]
        if wish.index in ("snippet", "markers"):
            return [*snippet("pip-extra", at).split()[2:-1], *theirs]
        ours = snippet("pip", at).replace("/simple/", f"/{wish.view}/").split()[2:-1]
        cutoff = ["--uploaded-prior-to", CUTOFF.isoformat()] if wish.cutoff else []
        binary = ["--only-binary", ":all:"] if wish.only_binary else []
        return [*ours, *cutoff, *binary, *(["--extra-index-url", theirs[1]] if wish.index == "first" else [])]


class _Project:
    """An installer that has a pyproject.toml and a lock: the same project for all, with a section of its own."""

    home: Path
    name: str
    lock: str

    def install(self, folder: Folder, wish: Wish, at: Addresses) -> Outcome:
        self._write(folder, wish, at)
        return folder.outcome(self.lock, self._lock(folder) and self._sync(folder, wish))

    def make_lock(self, folder: Folder, wish: Wish, at: Addresses) -> Outcome:
        self._write(folder, wish, at)
        return folder.outcome(self.lock, self._lock(folder))

    def lists(self, folder: Folder, at: Addresses, lock: str, file: File) -> bool:
        return sha256(file.data) in lock

    def install_lock(self, folder: Folder, wish: Wish, at: Addresses, lock: str) -> Outcome:
        self._write(folder, wish, at)
        (folder.path / self.lock).write_text(lock)
        return folder.outcome(self.lock, self._sync(folder, wish))

    def _write(self, folder: Folder, wish: Wish, at: Addresses) -> None:
        project = f'[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.{sys.version_info[1]}"\n'
        text = f"{project}{self._dependencies(wish, at)}\n{self._section(wish, at)}"
        tomllib.loads(text)
        (folder.path / "pyproject.toml").write_text(text)

    def _dependencies(self, wish: Wish, at: Addresses) -> str:
        return f"dependencies = {json.dumps([at.fill(each) for each in wish.requirements])}\n"

    def _section(self, wish: Wish, at: Addresses) -> str:
        raise NotImplementedError

    def _lock(self, folder: Folder) -> bool:
        raise NotImplementedError

    def _sync(self, folder: Folder, wish: Wish) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class Uv(_Project):
    home: Path
    name: str = "uv"
    lock: str = "uv.lock"

    def _section(self, wish: Wish, at: Addresses) -> str:
        ours, theirs = f"{at.site}{wish.view}/", f"{at.upstream}simple/"
        upstream = f'[[tool.uv.index]]\nname = "upstream"\nurl = "{theirs}"\ndefault = true\n'
        if wish.index == "snippet":
            return f"{upstream}\n{snippet('uv', at)}"
        if wish.index == "markers":
            index = snippet("uv", at).partition("[tool.uv.sources]")[0]
            return f"{upstream}\n{index}{snippet('uv-markers', at)}"
        head = f'[tool.uv]\nexclude-newer = "{CUTOFF.isoformat()}"\n' if wish.cutoff else ""
        head += "[tool.uv]\nno-build = true\n" if wish.only_binary else ""
        kiln = f'[[tool.uv.index]]\nname = "kiln"\nurl = "{ours}"\n'
        return head + (f"{kiln}default = true\n" if wish.index == "only" else f"{kiln}\n{upstream}")

    def _lock(self, folder: Folder) -> bool:
        return folder.run(self.home / "bin" / "uv", "lock")

    def _sync(self, folder: Folder, wish: Wish) -> bool:
        return folder.run(self.home / "bin" / "uv", "sync", "--frozen")

    def install_unlocked(self, folder: Folder, requirement: str, at: Addresses) -> Outcome:
        """As pip does."""
        command = (self.home / "bin" / "uv", "pip", "install", "--python", folder.python)
        return folder.outcome(self.lock, folder.run(*command, "--index-url", f"{at.site}simple/", requirement))


@dataclass(frozen=True)
class Poetry(_Project):
    home: Path
    name: str = "Poetry"
    lock: str = "poetry.lock"

    def _dependencies(self, wish: Wish, at: Addresses) -> str:
        if wish.index not in ("only", "first"):
            return 'dynamic = ["dependencies"]\n'
        return super()._dependencies(wish, at)

    def _section(self, wish: Wish, at: Addresses) -> str:
        ours, theirs = f"{at.site}{wish.view}/", f"{at.upstream}simple/"
        upstream = f'[[tool.poetry.source]]\nname = "upstream"\nurl = "{theirs}"\n'
        head = "[tool.poetry]\npackage-mode = false\n\n"
        if wish.index not in ("only", "first"):
            text = snippet("poetry", at)
            if wish.index != "snippet":
                text = text.partition("[tool.poetry.dependencies]")[0] + snippet("poetry-markers", at)
            if wish.index == "markers with and":
                text = text.replace(" or ", " and ")
            return f'{head}{upstream}\n{text}plain-dep = "*"\npython = ">=3.{sys.version_info[1]}"\n'
        kiln = f'[[tool.poetry.source]]\nname = "kiln"\nurl = "{ours}"\n'
        return head + (kiln if wish.index == "only" else f"{kiln}\n{upstream}")

    def install(self, folder: Folder, wish: Wish, at: Addresses) -> Outcome:
        if wish.cutoff:
            (folder.path / "poetry.toml").write_text(f"[solver]\nmin-release-age = {(NOW - CUTOFF).days}\n")
        return super().install(folder, wish, at)

    def _lock(self, folder: Folder) -> bool:
        return self._run(folder, "lock")

    def _sync(self, folder: Folder, wish: Wish) -> bool:
        return self._run(
            folder, "install", "--no-root", **({"POETRY_INSTALLER_ONLY_BINARY": ":all:"} if wish.only_binary else {})
        )

    def _run(self, folder: Folder, *arguments: str, **environment: str) -> bool:
        command = (self.home / "bin" / "poetry", "--no-interaction", *arguments)
        return folder.run(*command, POETRY_VIRTUALENVS_IN_PROJECT="true", **environment)


@dataclass(frozen=True)
class Pdm(_Project):
    home: Path
    name: str = "PDM"
    lock: str = "pdm.lock"

    def _section(self, wish: Wish, at: Addresses) -> str:
        ours, theirs = f"{at.site}{wish.view}/", f"{at.upstream}simple/"
        upstream = f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{theirs}"\n'
        head = "[tool.pdm]\ndistribution = false\n\n"
        if wish.index in ("snippet", "markers"):
            return f"{head}{upstream}\n{snippet('pdm', at)}"
        order = "\n[tool.pdm.resolution]\nrespect-source-order = true\n"
        if wish.cutoff:
            order += f'exclude-newer = "{CUTOFF:%Y-%m-%dT%H:%M:%SZ}"\n'
        if wish.index == "only":
            # the name of the source that stands for the public index
            return f'{head}[[tool.pdm.source]]\nname = "pypi"\nurl = "{ours}"\n{order}'
        kiln = f'[[tool.pdm.source]]\nname = "kiln"\nurl = "{ours}"\n'
        return f"{head}{kiln}\n{upstream}{order}"

    def _lock(self, folder: Folder) -> bool:
        return self._run(folder, "lock")

    def _sync(self, folder: Folder, wish: Wish) -> bool:
        return self._run(folder, "sync", "--no-self", **({"PDM_ONLY_BINARY": ":all:"} if wish.only_binary else {}))

    def _run(self, folder: Folder, *arguments: str, **environment: str) -> bool:
        quiet = {"PDM_CHECK_UPDATE": "false", "PDM_CACHE_DIR": str(folder.path / "cache")}
        return folder.run(self.home / "bin" / "pdm", *arguments, **quiet, **environment)


PROGRAMS = {"pip": Pip, "uv": Uv, "Poetry": Poetry, "PDM": Pdm}


def make_environment(name: str, folder: Path) -> Program:
    """Install one of `PROGRAMS` into an environment of its own, from the package index."""
    package, overrides = {"PDM": ("pdm", "certifi>=2026\n")}.get(name, (name.lower(), ""))
    requirements = [package, *(["hishel[httpx2]"] if name == "PDM" else [])]  # what PDM's own requirements leave out
    home = folder / package
    (folder / f"{package}.txt").write_text(overrides)
    uv = [find_uv_bin(), "--quiet", "--no-config"]
    subprocess.run([*uv, "venv", "--python", sys.executable, home], check=True)
    more = ["--override", folder / f"{package}.txt"] if overrides else []
    subprocess.run(
        [*uv, "pip", "install", "--python", home, "-c", SUITE / "constraints.txt", *more, *requirements], check=True, timeout=300
    )
    return PROGRAMS[name](home)
