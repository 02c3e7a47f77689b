"""The signs of each failure class in a build log, as data. How they are searched stands in `kiln_pipeline.core.failure_log`.

Rules stand in tiers: the first tier with a match decides, and within a tier the earliest place in the log, because what
comes later in a log is mostly an echo of the first cause. Every alternative here has been seen in a real log.
"""

import re
from dataclasses import dataclass

from kiln_pipeline.core.failures import FailureClass


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One sign of one failure class. The named groups of `pattern` fill the braces of `hint`."""

    failure_class: FailureClass
    pattern: re.Pattern[str]
    hint: str


def _rule(failure_class: FailureClass, hint: str, *alternatives: str) -> Rule:
    return Rule(failure_class=failure_class, pattern=re.compile("|".join(alternatives), re.MULTILINE), hint=hint)


# What the system or the builder itself says outranks whatever the compiler printed before it died.
_HOST = (
    _rule(
        FailureClass.TIMEOUT,
        "the build took too long: raise time in the recipe's limits, or use a faster host",
        r"^kiln: stopped after [\d.]+ seconds",
        r"CPU time limit exceeded",
        r"signal(?:\.Signals)?[ .]*(?:24\b|SIGXCPU)",
    ),
    _rule(
        FailureClass.OVER_LIMIT,
        "the build took more of its host than it may: raise that one of the recipe's limits if the package is to be trusted",
        r"^kiln: stopped (?:after \d+ bytes of log|with )",
        r"File size limit exceeded",
        r"File too large",
        r"BlockingIOError: \[Errno 11\] Resource temporarily unavailable",
        r"signal(?:\.Signals)?[ .]*(?:25\b|SIGXFSZ)",
    ),
    _rule(FailureClass.OUT_OF_DISK, "free disk space on the build host", r"No space left on device"),
    _rule(
        FailureClass.OUT_OF_MEMORY,
        "give the build host more memory, or set MAKEFLAGS=-j1 in the recipe's environment",
        r"internal compiler error: Killed",
        r"Killed signal terminated program",
        r"fatal error: Killed",
        r"virtual memory exhausted",
        r"out of memory allocating",
        r"LLVM ERROR: out of memory",
        r"Cannot allocate memory",
        r"^MemoryError\b",
    ),
    _rule(
        FailureClass.NO_SUCH_IDENTIFIER,
        "no such build exists for this cibuildwheel: leave this Python or platform out of the recipe",
        r"No build identifiers selected",
        r"Invalid (?:build )?identifier",
    ),
    _rule(
        FailureClass.LOST_EXTENSION,
        "the build fell back to pure Python: read its log for the compiler's first error, and add what is missing to the recipe",
        r"Build failed because a pure Python wheel was generated",
        r"This does not look like a platform wheel",
        r"Invalid binary wheel: no ELF executable",
    ),
    _rule(
        FailureClass.REMOVED_C_API,
        "the wheel was built, and does not load, since it calls a C API that this Python has removed",
        r"^ *kiln: the wheel does not load: .*(?:undefined symbol: |[Ss]ymbol not found.*)_?_?Py",
    ),
    _rule(
        FailureClass.TESTS_FAILED,
        "the wheel was built, and one of its modules does not load: what it misses stands behind its name",
        r"^ *kiln: the wheel does not load: ",
    ),
    _rule(
        FailureClass.ENGINE,
        "the container engine or its image failed: try `podman info`, and pull the image by hand on the build host",
        r"Cannot connect to the Docker daemon",
        r"Error response from daemon",
        r"OCIEngineTooOldError",
        r"^ERROR: Could not open requirements file: .*kiln-",
        r"manifest unknown",
        r"^kiln: index: cannot listen on ",
        r"Error: (?:initializing source|creating build container|crun:|runc:|OCI runtime|unable to (?:pull|copy|start))",
        r"[Ee]xec format error",
    ),
)

_NEWER_CYTHON = "build with a newer Cython if the sdist has its .pyx files, or leave this Python out"
_SYSTEM_PACKAGES = "add the package that brings it to the recipe's system-packages"
_REMOVED_FIELDS = (
    "tp_print|exc_type|exc_value|exc_traceback|use_tracing|f_code|f_lasti|f_back|ob_digit|recursion_(?:depth|limit)|curexc_\\w+"
)
_PYTHON2_NAMES = "unicode|basestring|xrange|raw_input|execfile|unichr|reduce|reload|file|long|cmp"
_PYTHON2_MODULES = "ConfigParser|urllib2|StringIO|cStringIO|commands|__builtin__|Queue|httplib|urlparse|cPickle|copy_reg"
_BUILD_MODULES = (
    "Cython|cython|numpy|cffi|pybind11|pkgconfig|skbuild|setuptools_scm|setuptools_rust|pyarrow|wheel|setuptools|jinja2|six"
)

# What names the cause itself.
_SPECIFIC = (
    _rule(
        FailureClass.REMOVED_C_API,
        f"the sources use a C API that this Python has removed: {_NEWER_CYTHON}",
        r"fatal error: '?(?:longintrepr|pyarena|node|graminit)\.h",
        rf"no member named '(?:{_REMOVED_FIELDS})'",
        r"no member named '\w+' in 'struct (?:_ts|_frame|_err_stackitem|_typeobject|_is)'",
        r"['‘]struct (?:_ts|_frame|_err_stackitem|_typeobject|_is|_longobject)['’]\}? has no member named",
        r"incomplete (?:definition of type|typedef) ['‘](?:struct _frame|PyFrameObject|PyCodeObject)",
        r"(?:undeclared identifier|implicit declaration of function|undeclared function|undefined reference to|undefined symbol:)"
        r" ?['‘`]?_?Py[A-Z_]\w+",
        r"['‘]_?Py[A-Z_]\w+['’] (?:undeclared|was not declared)",
        r"too (?:many|few) arguments to function (?:call, expected \d+, have \d+\n.*|['‘])_?Py[A-Z_]\w+",
    ),
    _rule(
        FailureClass.REMOVED_C_API,
        f"the sources assign to Py_TYPE, Py_SIZE or Py_REFCNT, which Python 3.10 and later forbid: {_NEWER_CYTHON}",
        r"error: expression is not assignable\n.*(?:Py_|__Pyx_|PyObject)",
        r"error: lvalue required as left operand of assignment\n.*(?:Py_|__Pyx_|PyObject)",
    ),
    _rule(
        FailureClass.FORBIDDEN,
        "the build wants a file of the host, or to write outside its own folder: patch that out, or build it in a container",
        r"PermissionError: \[Errno (?:1|13)\] ",
        r"OSError: \[Errno 30\] Read-only file system",
        r": cannot (?:create|open) \S+: Permission denied",
    ),
    _rule(
        FailureClass.PYTHON2_SYNTAX,
        "the sources are Python 2 only: leave these versions out of the recipe",
        r"SyntaxError: Missing parentheses in call to '(?:print|exec)'",
        r"SyntaxError: multiple exception types must be parenthesized",
        r"SyntaxError: leading zeros in decimal integer literals",
        r"TabError: inconsistent use of tabs",
        rf"NameError: name '(?:{_PYTHON2_NAMES})' is not defined",
        rf"No module named '?(?:{_PYTHON2_MODULES})\b",
        r"has no attribute '(?:has_key|iteritems|itervalues)'",
        r"^ *(?:print\b[^(\n]+|except .+, *\w+:|raise [\w.]+ *,.*|exec [^(\n]+|.*<>.*|.*\b0[0-7]+\b.*|.*`.+`.*)"
        r"\n[ ^~]*\n *SyntaxError: ",
    ),
    _rule(
        FailureClass.MISSING_HEADER,
        "the header {name} is missing: " + _SYSTEM_PACKAGES,
        r"fatal error: '?(?P<name>[\w./+-]+)'?(?: file not found|: No such file or directory)",
    ),
    _rule(
        FailureClass.MISSING_LIBRARY,
        "the library {name} is missing: " + _SYSTEM_PACKAGES,
        r"(?:cannot find -l|library not found for -l|unable to find (?:dynamic system )?library (?:['\"]|-l)"
        r"|library '(?=[\w.+-]+' not found))(?P<name>[\w.+-]+)",
    ),
    _rule(
        FailureClass.MISSING_LIBRARY,
        "a library that the build asks for is missing: " + _SYSTEM_PACKAGES,
        r"Package '?[\w.+-]+'?(?:, required by .*,)? (?:was )?not found",
        r"make sure the (?:libxml2 and libxslt )?development packages",
        r"Could not find function \w+ in library",
        r"Error: \w+-config not found",
    ),
    _rule(
        FailureClass.MISSING_TOOL,
        "the build calls a program that is not there: " + _SYSTEM_PACKAGES,
        r"\bsh: (?:line )?(?:\d+: )?[\w./+-]+: (?:command )?not found",
        r"error: command '[\w./+-]+' failed: No such file or directory",
        r"[Cc]ould not find (?:protoc|swig|cmake|rustc|cargo)\b",
        r"can't find Rust compiler",
        r"CMake must be installed",
        r"No such file or directory: '(?:cmake|cargo|rustc|swig|pg_config|mysql_config|gfortran|make|perl|git)'",
    ),
    _rule(
        FailureClass.NETWORK,
        "the build could not reach the index or a download: it is tried again later",
        r"Retry\(total=0\b",
        r"Temporary failure (?:in name resolution|resolving)",
        r"Could not resolve (?:host|')",
        r"Network is unreachable",
        r"Name or service not known",
        r"nodename nor servname provided",
        r"(?:50[0234]|429) (?:Server|Client) Error",
        r"^ERROR: .*Read timed out",
        r"^E: Failed to fetch ",
        r"^kiln: index: upstream did not answer ",
    ),
    _rule(
        FailureClass.BUILD_REQUIREMENT,
        "a build requirement is missing, cannot be installed or has the wrong version: pin it in the recipe's constraints",
        r"ERROR: Could not find a version that satisfies the requirement",
        r"ERROR: No matching distribution found",
        r"ResolutionImpossible",
        r"ERROR: Cannot install ",
        r"Building wheel for (?:cython|numpy|cffi) \(.*\): finished with status 'error'",
        rf"ModuleNotFoundError: No module named '(?:{_BUILD_MODULES})['.]",
        r"BackendUnavailable",
        r"Cython\.Compiler\.Errors\.CompileError",
    ),
    _rule(
        FailureClass.REPAIR_FAILED,
        "the wheel needs a newer system than its platform tag allows, or a library that is not found: see the log's last lines",
        r"auditwheel: error:",
        r"cannot repair \".*\" to ",
        r"too-recent versioned symbols",
        r"delocate\.\w+\.Delocat\w*Error",
    ),
)

_PATCH = "mend them with a patch in the recipe, or leave this Python out"
_SOURCES = "c|cc|cpp|cxx|m|mm|h|hpp|hh|hxx|inc|pyx|pxd|pxi|f|f90|rs|S|s"

# Compilers and linkers: the cause is in the sources, and only a person can say more.
_COMPILE = (
    _rule(
        FailureClass.LINK_ERROR,
        "the linker failed: a library or an object file is missing, or one is built for another machine",
        r"undefined reference to",
        r"Undefined symbols for architecture",
        r"undefined symbol: ",
        r"multiple definition of",
        r"duplicate symbol",
        r"\bld(?:\.lld)?: error:",
        r"ld returned \d+ exit status",
        r"linker command failed",
        r"unsupported linker arg",
        r"ld: symbol\(s\) not found",
    ),
    _rule(
        FailureClass.COMPILER_ERROR,
        f"the compiler refuses the sources: {_PATCH}",
        rf"\.(?:{_SOURCES}):\d+(?::\d+)?: (?:fatal )?error: ",
        r"^Error compiling Cython file:",
        r"^error\[E\d+\]: ",
        r"^ *error: could not compile ",
    ),
    _rule(
        FailureClass.COMPILER_ERROR,
        "the compiler refuses an option: set CFLAGS or LDFLAGS in the recipe's environment",
        r"\b(?:clang|clang\+\+|gcc|g\+\+|cc1|cc1plus|zig|cc|c\+\+): (?:fatal )?error: ",
        r"^ *error: (?:unsupported|[Uu]nknown) .*(?:option|argument)",
    ),
)

# A build requirement that would not install, when no compiler said more: its exception is not that of the package's setup.py.
_REQUIREMENT = (
    _rule(
        FailureClass.BUILD_REQUIREMENT,
        "a build requirement could not be installed: pin it in the recipe's constraints",
        r"pip subprocess to install build dependencies did not run successfully",
        r"^ *ERROR: Failed to build .* when (?:installing|getting) build dependencies",
        r"^ *Command .*\bpip install .* failed with code \d+",
    ),
)

# What a package says of itself, when no compiler said more.
_PACKAGE = (
    _rule(
        FailureClass.TESTS_FAILED,
        "the wheel was built, and its own tests failed",
        r"^=+ .*\d+ failed.* =+$",
        r"cibuildwheel: error: .*test.*failed",
    ),
    _rule(
        FailureClass.SETUP_EXCEPTION,
        "setup.py itself raised {name}: pin an older setuptools in the recipe's constraints, or leave this version out",
        r"^ *(?!pip\.|subprocess\.CalledProcessError|distutils\.errors\.|setuptools\._distutils|pyproject_hooks)"
        r"(?P<name>(?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|NotFound|Conflict)): \S",
        r"^ *(?:AssertionError|NotImplementedError|SystemExit|KeyError)$",
    ),
    _rule(
        FailureClass.BUILD_REQUIREMENT,
        "the build wants Cython, which its sdist does not ask for",
        r"needs to generate C files with Cython but it cannot",
    ),
    _rule(
        FailureClass.SETUP_EXCEPTION,
        "setup.py itself raised an exception: read its traceback, and pin build requirements or leave this version out",
        r"^ *Exception: \S",
    ),
    _rule(
        FailureClass.COMPILER_ERROR,
        "the compiler failed without saying why: read the lines above it in the log",
        r"error: command '[^'\n]*(?:gcc|g\+\+|clang|cc|c\+\+|ld|zig|compiler)[^'\n]*'? .*failed with exit (?:code|status) \d+",
    ),
    _rule(
        FailureClass.SETUP_EXCEPTION,
        "the build stopped itself: read the lines above this one in the log",
        r"^ *error: (?!subprocess-exited|metadata-generation|command |legacy-install)\S",
    ),
)

RULES: tuple[tuple[Rule, ...], ...] = (_HOST, _SPECIFIC, _COMPILE, _REQUIREMENT, _PACKAGE)
"""Tiers of rules, the most telling first."""
