"""The first process of a jailed build on Linux: closes what the build may not have, starts it, and leaves nothing of it behind.

A program of its own: standard library only, no import from kiln, run under ``python -I -S``. What it uses are the
kernel's own means, none of which needs privileges or another program: namespaces (user, process, network, IPC, mount), Landlock,
resource limits, and being the reaper of whatever the build starts, daemons included.

    python -I -S jail_init.py '{"socket": 5, "namespaces": true, …}' COMMAND ARGUMENT…

Before the command starts, it sends over the socket a JSON object that says what holds, with the listening socket of the jail's
own loopback. It ends with the command's exit status; with 125 when it could not do what it was told, or the build went over a
limit.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x4000, 0x40000
PDEATHSIG, CAPBSET_DROP, CHILD_SUBREAPER, NO_NEW_PRIVS = 1, 24, 36, 38
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every machine
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REFER, TRUNCATE = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 13, 1 << 14
ABI_1 = (1 << 13) - 1
CONNECT_TCP = 1 << 1
FAILED = 125
POLL = 0.05


def call(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def prctl(option: int, value: int) -> None:
    call(LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def enter_namespaces(sealed: bool) -> None:
    """Take this process into its own namespaces; those of processes begin with its next child."""
    uid, gid = os.getuid(), os.getgid()
    flags = NEWUSER | NEWPID | NEWIPC | NEWNS | (NEWNET if sealed else 0)
    call(LIBC.unshare(flags), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount(source: bytes, target: bytes, kind: "bytes | None", flags: int, data: "bytes | None" = None) -> None:
    call(LIBC.mount(source, target, kind, ctypes.c_ulong(flags), data), f"mount {target.decode()}")


def furnish(sealed: bool, port: int, most: int) -> "socket.socket | None":
    """Give the namespaces their own /proc, shared memory and loopback; return a socket that listens on its `port`.

    From Linux 6.14 on a process namespace has its own highest process number: no fork gets past it, however fast they come.
    """
    mount(b"none", b"/", None, MS_REC | MS_PRIVATE)
    mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    with contextlib.suppress(OSError), open("/proc/sys/kernel/pid_max", "w") as file:
        file.write(str(max(most + 64, 301)))
    if os.path.isdir("/dev/shm"):  # noqa: S108 (its own from here on)
        mount(b"tmpfs", b"/dev/shm", b"tmpfs", MS_NOSUID | MS_NODEV, b"size=256m")
    if not sealed:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    return socket.create_server(("127.0.0.1", port), backlog=64)


def landlock_abi() -> int:
    return max(LIBC.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1), 0)


def restrict(read: "list[str]", write: "list[str]", *, abi: int, port: int) -> None:
    """Close every file but those beneath `read` and `write`, from this process on; with a `port`, every other TCP port too."""
    handled = ABI_1 | REFER | (TRUNCATE if abi >= 3 else 0)
    net = CONNECT_TCP if port and abi >= 4 else 0
    attributes = struct.pack("QQQ", handled, net, 3 if abi >= 6 else 0)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = call(LIBC.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock")
    for paths, wanted in ((read, EXECUTE | READ_FILE | READ_DIR), (write, handled)):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
                file_rights = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
                rights = wanted & handled if os.path.isdir(path) else wanted & handled & file_rights
                rule = struct.pack("=Qi", rights, fd)
                call(LIBC.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0), f"landlock {path}")
                os.close(fd)
    if net:
        call(LIBC.syscall(LANDLOCK_ADD, ruleset, 2, struct.pack("QQ", CONNECT_TCP, port), 0), "landlock port")
    call(LIBC.syscall(LANDLOCK_RESTRICT, ruleset, 0), "landlock")


def limit(limits: "dict[str, int]") -> None:
    """Limit this process and all that it starts. The number of processes is the user's own, who may have others: never root's."""
    kinds = {"memory": resource.RLIMIT_DATA, "file_size": resource.RLIMIT_FSIZE, "cpu_time": resource.RLIMIT_CPU}
    for name, kind in kinds.items():
        hard = resource.getrlimit(kind)[1]
        value = limits[name] if hard == resource.RLIM_INFINITY else min(limits[name], hard)
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.getuid():
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        wanted = limits["processes"] + sum(threads_of(os.getuid()))
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (value, value))


def threads_of(uid: int) -> "Iterator[int]":
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == uid:
                yield len(os.listdir(f"/proc/{name}/task"))


def become(command: "list[str]", spec: "dict[str, Any]", abi: int) -> NoReturn:
    """Become the build's command, with nothing more than it may have."""
    try:
        os.setsid()  # where sessions share the processor evenly, a crowd of processes does not starve the one that ends it
        limit(spec["limits"])
        prctl(NO_NEW_PRIVS, 1)
        if abi >= 2:
            port = spec["port"] if spec["sealed"] and not spec["namespaces"] else 0
            restrict(spec["read"], spec["write"], abi=abi, port=port)
        for capability in range(64):
            if LIBC.prctl(CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
                break
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(command[0], command, os.environ)  # noqa: S606 (no shell is wanted)
    except OSError as error:
        print(f"kiln: jail: cannot start {command[0]}: {error}", file=sys.stderr, flush=True)
    os._exit(FAILED)


def descendants() -> "list[int]":
    """Return every process beneath this one; the kernel makes this one the parent of all whose own parent has ended."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(name))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def processes() -> int:
    """Return how many processes there are beneath this one."""
    if os.getpid() == 1:
        return sum(map(str.isdigit, os.listdir("/proc"))) - 1
    return len(descendants())


def end_all() -> None:
    """End every process beneath this one: all are held first, so that none starts another meanwhile."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        seen: set[int] = set()
        for _ in range(100):
            found = set(descendants()) - seen
            if not found:
                break
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            seen |= found
    with contextlib.suppress(ChildProcessError):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)


def attend(child: int, most: int) -> int:
    """Reap everything until `child` has ended; return its exit status, or `FAILED` when there were too many processes."""
    counted = 0.0
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                print(f"kiln: jail: the build was killed by {signal.Signals(-code).name}", file=sys.stderr, flush=True)
            return code if code >= 0 else 128 - code
        if pid:
            continue
        if time.monotonic() > counted + POLL:
            if processes() > most:
                print(f"\nkiln: stopped with more than {most} processes", file=sys.stderr, flush=True)
                return FAILED
            counted = time.monotonic()
        signal.sigtimedwait({signal.SIGCHLD}, POLL)


def leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def inside(spec: "dict[str, Any]", command: "list[str]") -> int:
    """The reaper's life: in its namespaces, if there are any, it is process 1."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    report = socket.socket(fileno=spec["socket"])
    listening, abi = None, landlock_abi()
    try:
        if spec["namespaces"]:
            prctl(PDEATHSIG, signal.SIGKILL)
            listening = furnish(spec["sealed"], spec["port"], spec["limits"]["processes"])
        else:
            prctl(PDEATHSIG, signal.SIGTERM)
            prctl(CHILD_SUBREAPER, 1)
        fds = [listening.fileno()] if listening else []
        socket.send_fds(report, [json.dumps({"namespaces": spec["namespaces"], "landlock": abi}).encode()], fds)
        report.close()
        if listening:
            listening.close()
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            become(command, spec, abi)
        return attend(child, spec["limits"]["processes"])
    except OSError as error:
        print(f"kiln: jail: {error}", file=sys.stderr, flush=True)
        return FAILED
    finally:
        if not spec["namespaces"]:  # else the end of process 1 is the end of all, at once, whatever they start meanwhile
            end_all()


def main(argument: str, command: "list[str]") -> int:
    spec = json.loads(argument)
    if not spec["namespaces"]:
        return inside(spec, command)
    try:
        enter_namespaces(spec["sealed"])
    except OSError as error:
        print(f"kiln: jail: {error}", file=sys.stderr, flush=True)
        return FAILED
    first = os.fork()
    if first == 0:
        os._exit(inside_safely(spec, command))
    socket.socket(fileno=spec["socket"]).close()
    prctl(PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(first, signal.SIGKILL)  # and with process 1 ends its whole namespace
            os.waitpid(first, 0)


def inside_safely(spec: "dict[str, Any]", command: "list[str]") -> int:
    try:
        return inside(spec, command)
    except SystemExit as end:
        return int(end.code or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
