"""What a failed build lacked, from the line that proves its failure: the library behind a header, the module, the API. Data.

The tables name a library only where a header or a linker's name has one owner; everything else keeps its own name.
"""

import re

from kiln_pipeline.core.failures import FailureClass

_HEADERS = {
    "libxml2": r"libxml/.*|xmlversion\.h",
    "libxslt": r"(?:libxslt|libexslt)/.*",
    "libyaml": r"yaml\.h",
    "libffi": r"ffi\.h|ffi/ffi\.h",
    "OpenSSL": r"openssl/.*",
    "zlib": r"zlib\.h",
    "bzip2": r"bzlib\.h",
    "xz": r"lzma\.h",
    "lz4": r"lz4\w*\.h",
    "zstd": r"zstd\w*\.h",
    "brotli": r"brotli/.*",
    "snappy": r"snappy(?:-c)?\.h",
    "a MySQL or MariaDB client": r"mysql\.h|mysql/.*|mariadb/.*|my_config\.h|my_global\.h",
    "the PostgreSQL client": r"libpq-fe\.h|libpq/.*|postgres_ext\.h",
    "SQLite": r"sqlite3\.h",
    "unixODBC": r"sql(?:ext|types|ucode)?\.h",
    "FreeTDS": r"sybdb\.h|sqlfront\.h",
    "OpenLDAP": r"lber\.h|ldap\.h",
    "Cyrus SASL": r"sasl/.*|sasl\.h",
    "Kerberos": r"gssapi\.h|gssapi/.*|krb5\.h",
    "ZeroMQ": r"zmq\.h",
    "HDF5": r"hdf5\.h",
    "libcurl": r"curl/.*",
    "libjpeg": r"jpeglib\.h",
    "libpng": r"png\.h",
    "libtiff": r"tiffio\.h",
    "FreeType": r"ft2build\.h|freetype2?/.*",
    "libmagic": r"magic\.h",
    "libuuid": r"uuid/uuid\.h",
    "libpcap": r"pcap(?:/pcap)?\.h",
    "GMP": r"gmp\.h",
    "MPFR": r"mpfr\.h",
    "MPC": r"mpc\.h",
    "PCRE": r"pcre\.h",
    "RE2": r"re2/.*",
    "GEOS": r"geos_c\.h",
    "PROJ": r"proj(?:_api)?\.h",
    "GDAL": r"gdal\.h|ogr_api\.h",
    "LevelDB": r"leveldb/.*",
    "RocksDB": r"rocksdb/.*",
    "librdkafka": r"librdkafka/.*",
    "libsystemd": r"systemd/.*",
    "D-Bus": r"dbus/.*",
    "ALSA": r"alsa/.*",
    "PortAudio": r"portaudio\.h",
    "libusb": r"libusb(?:-1\.0/libusb)?\.h",
    "gRPC": r"grpc/.*",
    "protobuf": r"google/protobuf/.*",
    "Boost": r"boost/.*",
    "Eigen": r"Eigen/.*",
    "CUDA": r"cuda\w*\.h",
    "Python": r"Python\.h",
    "numpy": r"numpy/.*",
}
_LIBRARIES = {
    "libxml2": r"xml2|libxml-2\.0",
    "libxslt": r"e?xslt|libe?xslt",
    "libyaml": r"yaml(?:-0\.1)?",
    "libffi": r"ffi|libffi",
    "OpenSSL": r"ssl|crypto|openssl|libssl",
    "zlib": r"z|zlib",
    "bzip2": r"bz2",
    "xz": r"lzma|liblzma",
    "a MySQL or MariaDB client": r"mysqlclient(?:_r)?|mariadb(?:client)?|libmariadb",
    "the PostgreSQL client": r"pq|libpq",
    "SQLite": r"sqlite3",
    "libpng": r"png(?:16)?|libpng",
    "libjpeg": r"jpeg|libjpeg",
    "FreeType": r"freetype2?",
    "HDF5": r"hdf5(?:_hl)?",
    "ZeroMQ": r"zmq|libzmq",
    "BLAS": r"blas|cblas|openblas",
    "LAPACK": r"lapack",
}
_QUOTED = r"['‘`\"](?P<name>[\w.:+/-]+)['’\"]"
_NAMES = {
    FailureClass.MISSING_HEADER: (r"fatal error: '?(?P<name>[\w./+-]+\.\w+|[\w+-]+/\w+)'?(?: file not found|: No such)",),
    FailureClass.MISSING_LIBRARY: (
        r"(?:cannot find |library not found for |unable to find (?:dynamic system )?library ['\"]?)-l(?P<name>[\w.+-]+)",
        rf"library {_QUOTED} not found",
        rf"unable to find (?:dynamic system )?library {_QUOTED}",
        r"Package '?(?P<name>[\w.+-]+?)'?(?:, required by .*,)? (?:was )?not found",
        r"(?P<name>libxml2) and libxslt development packages",
        r"Error: (?P<name>\w+-config) not found",
    ),
    FailureClass.MISSING_TOOL: (
        r"\bsh: (?:line )?(?:\d+: )?(?P<name>[\w./+-]+): (?:command )?not found",
        r"command '(?P<name>[\w./+-]+)' failed: No such file or directory",
        r"No such file or directory: '(?P<name>[\w./+-]+)'",
        r"[Cc]ould not find (?P<name>\w+)",
        r"find (?P<name>Rust) compiler",
        r"(?P<name>CMake) must be installed",
    ),
    FailureClass.REMOVED_C_API: (
        r"fatal error: '?(?P<name>\w+\.h)",
        r"no member named ['‘](?P<name>\w+)['’]",
        r"(?P<name>_?Py[A-Z_]\w+)",
    ),
    FailureClass.BUILD_REQUIREMENT: (
        r"No module named '?(?P<name>\w+)",
        r"satisfies the requirement (?P<name>[\w.-]+)",
        r"No matching distribution found for (?P<name>[\w.-]+)",
        r"Building wheel for (?P<name>[\w.-]+) ",
        r"Failed to build '?(?P<name>[\w.-]+)'? when",
    ),
    FailureClass.SETUP_EXCEPTION: (r"^(?P<name>.*(?:Error|Exception|Exit|NotFound|Conflict|exception): .{1,80})",),
    FailureClass.LOST_EXTENSION: (r"(?P<name>(?:\w+\.)*\w+) (?:is|are) (?:missing|not there)",),
}


def part_of(failure_class: str, proof: str) -> str:
    """Return what was missing or in the way, as a person would call it; empty when the line does not say.

    For a header or a library that has one owner, the owner: ``libxml2`` for ``libxml/xmlversion.h`` and for ``-lxml2``.
    """
    if failure_class not in _NAMES:
        return ""
    kind = FailureClass(failure_class)
    found = next((m["name"] for pattern in _NAMES[kind] if (m := re.search(pattern, proof))), "")
    owners = {FailureClass.MISSING_HEADER: _HEADERS, FailureClass.MISSING_LIBRARY: _LIBRARIES}.get(kind, {})
    return next((owner for owner, names in owners.items() if re.fullmatch(names, found)), found)
