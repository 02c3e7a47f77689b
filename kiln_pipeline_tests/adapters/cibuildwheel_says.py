"""What a cibuildwheel makes of a configuration: run by its own Python, it asks its own parser and prints JSON. Builds nothing.

    python cibuildwheel_says.py IDENTIFIER CONFIG_FILE PACKAGE_FOLDER     one build: everything that is decided for it
    python cibuildwheel_says.py identifiers                               every identifier that it knows

It runs on Linux for Macs too: `sys.platform` is that of a Mac in this process then, since cibuildwheel asks only there.
"""

import dataclasses
import json
import os
import platform
import sys
import tomllib
from pathlib import Path
from typing import Any


def said_of(identifier: str, config_file: str, package: str) -> dict[str, Any]:
    system = "macos" if "-macosx" in identifier else "linux"
    from cibuildwheel.options import CommandLineArguments, Options

    try:
        from cibuildwheel.platforms import linux, macos
    except ImportError:  # 2.x
        from cibuildwheel import linux, macos  # type: ignore[attr-defined,no-redef]
    if system == "macos":  # only now: the standard library's own modules for Macs are not here
        sys.platform = "darwin"
        platform.mac_ver = lambda *_: ("14.5", ("", "", ""), "arm64")  # type: ignore[assignment]
    arguments = dataclasses.replace(
        CommandLineArguments.defaults(), only=identifier, config_file=config_file, package_dir=Path(package), platform=None
    )
    options = Options(platform=system, command_line_arguments=arguments, env=dict(os.environ))
    found, build = options.globals, options.build_options(identifier)
    module = macos if system == "macos" else linux
    chosen = module.get_python_configurations(found.build_selector, found.architectures)
    machine = identifier.partition("_")[2]
    images = build.musllinux_images if "musllinux" in identifier else build.manylinux_images
    return {
        "identifiers": [each.identifier for each in chosen],
        "tested": bool(build.test_selector(identifier)),
        "environment": build.environment.as_dictionary({"PATH": "/bin"}),
        "before_all": build.before_all,
        "before_build": build.before_build,
        "test_command": build.test_command,
        "verbosity": build.build_verbosity,
        "image": (images or {}).get(f"pypy_{machine}" if identifier.startswith("pp") else machine) if system == "linux" else None,
        "engine": [
            build.container_engine.name,
            list(build.container_engine.create_args),
            build.container_engine.disable_host_mount,
        ],
    }


def known() -> list[str]:
    import cibuildwheel

    file = Path(cibuildwheel.__file__).parent / "resources" / "build-platforms.toml"
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return sorted(row["identifier"] for table in tables.values() for row in table["python_configurations"])


if __name__ == "__main__":
    print(json.dumps(known() if sys.argv[1:] == ["identifiers"] else said_of(*sys.argv[1:])))
