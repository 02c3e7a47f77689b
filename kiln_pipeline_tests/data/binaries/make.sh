#!/bin/sh
# Makes the small binaries beside this file, each with one thing that no wheel's tags may hide. Needs `python -m ziglang` (0.17.1),
# which compiles for every target: nothing here is particular to the host.
set -eu
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
zig() { "${PYTHON:-python3}" -m ziglang cc -w -O2 -s -shared -fPIC "$@"; }

echo 'void foreign(void) {}' > "$scratch/foreign.c"
echo 'void foreign(void); void PyInit_demo(void) { foreign(); }' > "$scratch/loads.c"
# pthread_create has a new symbol version since glibc 2.34
echo 'extern int pthread_create(); void PyInit_demo(void) { pthread_create(0, 0, 0, 0); }' > "$scratch/newer.c"
# both are functions of CPython that the stable ABI has not, or not before 3.10
echo 'extern void _PyLong_AsByteArray(void), PyModule_AddObjectRef(void); void PyInit_demo(void) { _PyLong_AsByteArray(); PyModule_AddObjectRef(); }' > "$scratch/private.c"
echo 'void PyInit_demo(void) {}' > "$scratch/plain.c"

linux=x86_64-linux-gnu
zig -target $linux.2.34 -o elf-glibc-2.34.so "$scratch/newer.c"
zig -target $linux.2.17 -Wl,-soname,libforeign.so.1 -o "$scratch/libforeign.so" "$scratch/foreign.c"
zig -target $linux.2.17 -o elf-foreign.so "$scratch/loads.c" "$scratch/libforeign.so"
zig -target $linux.2.17 -o elf-private.so "$scratch/private.c"
zig -target $linux.2.17 -o elf-plain.so "$scratch/plain.c"
zig -target aarch64-linux-gnu.2.17 -o elf-aarch64.so "$scratch/plain.c"
zig -target aarch64-macos.14.0 -o macho-arm64-14.so "$scratch/plain.c"
zig -target aarch64-macos.11.0 -Wl,-install_name,/opt/homebrew/lib/libforeign.dylib -o "$scratch/libforeign.dylib" "$scratch/foreign.c"
zig -target aarch64-macos.11.0 -o macho-arm64-foreign.so "$scratch/loads.c" "$scratch/libforeign.dylib"
