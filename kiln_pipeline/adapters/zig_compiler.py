"""A C and C++ compiler command around ``zig cc``: run as a script by the wrappers in `zig_wrappers`, importable for tests.

It imports nothing but the standard library, since it runs under ``python -I -S`` for every source file of a build. What it
changes, and why: zig builds unoptimised with the undefined-behaviour sanitizer unless told otherwise; it rejects some linker
options of GNU ld that distributions put into their Pythons; and options that tie a binary to this host or to a folder make
its bytes differ between hosts.
"""

import os
import re
import sys
from collections.abc import Sequence

_DROPPED = re.compile(
    r"-O0|-Og|-Ofast|-g\d?|-ggdb\d?|-gdwarf\S*|-march=\S+|-mtune=\S+|-mcpu=\S+|-flto\S*|-fno-lto|-ffat-lto-objects"
    r"|-fuse-linker-plugin|-fprofile\S+|-fno-semantic-interposition|-Wl,-rpath\S*|-Wl,-R\S*|-R/\S+|-Wl,--exclude-libs\S*"
    r"|-Wl,-Bsymbolic-functions|-Bsymbolic-functions|-Wl,-Bsymbolic|-Wl,-Map\S*|-Wl,--no-as-needed|-Wl,--as-needed"
    r"|-Wl,--build-id\S*|-Wl,-z,(?:relro|now|noexecstack)|-fno-plt|-fcf-protection\S*|-fstack-clash-protection"
    r"|-specs=\S+|-static-libgcc|-static-libstdc\+\+|-Wl,--icf\S*|-Wdate-time"
)
"""Options that zig rejects, or that would make the wheel depend on this host."""
_DROPPED_WITH_VALUE = {"-Xlinker", "-target", "--target", "-arch"}
_OPTIMISED = re.compile(r"-O(?:[123sz])")
_COMPILES_ONLY = {"-c", "-S", "-E", "-M", "-MM"}
CXX_SUFFIXES = (".cpp", ".cc", ".cxx", ".c++", ".C")
HEADERS = "include"
"""The folder beside this script that is searched for headers after all others, where there is one."""
_ANSWERED = re.compile(r"-print-(?:file-name|prog-name)=(.+)")


def compiler_arguments(arguments: Sequence[str], *, target: str, source: str) -> list[str]:
    """Return the arguments for ``zig cc`` from those meant for gcc.

    `target` is zig's (``x86_64-linux-gnu.2.17``); `source` is the unpacked sdist, whose path is kept out of the binary.
    """
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in _DROPPED_WITH_VALUE:
            next(words, None)
        elif not _DROPPED.fullmatch(word):
            kept.append(word)
    if not any(_OPTIMISED.fullmatch(word) for word in kept):
        kept.append("-O2")
    kept += ["-fno-sanitize=undefined", "-g0", f"-ffile-prefix-map={source}=."]
    if not _COMPILES_ONLY & set(kept):
        kept.append("-s")
    return ["-target", target, *kept]


def language_of(command: str, arguments: Sequence[str]) -> str:
    """Return ``cc`` or ``c++`` for a call of `command`: like gcc, C++ for C++ sources, whatever the command.

    An old setuptools compiles them with CC, and ``zig cc`` would do so without the headers of the C++ library.
    """
    return "c++" if any(word.endswith(CXX_SUFFIXES) and not word.startswith("-") for word in arguments) else command


def main(arguments: Sequence[str]) -> None:
    """Become zig: ``zig_compiler.py ZIG cc|c++ TARGET SOURCE …``, then the compiler's own arguments."""
    zig, language, target, source, *rest = arguments
    answers = [match[1] for match in map(_ANSWERED.fullmatch, rest) if match]
    if answers:  # gcc prints the bare name of a file that it does not have
        print(answers[0])
    else:
        command = [zig, language_of(language, rest), *compiler_arguments(rest, target=target, source=source)]
        headers = os.path.join(os.path.dirname(os.path.abspath(__file__)), HEADERS)  # noqa: PTH100, PTH118, PTH120 (quick to start)
        command += ["-idirafter", headers] if os.path.isdir(headers) else []  # noqa: PTH112
        os.execv(zig, command)  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main(sys.argv[1:])
