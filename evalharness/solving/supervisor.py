"""Runs one test file over untrusted code, limited and cut off from the machine. A script for inside the sandbox.

Order (JSON on stdin) -> what came of it (JSON on stdout). Four processes: this one keeps the time and the pipes; a
keeper enters namespaces of its own; the first process in there builds a small root folder and looks after the files;
the last one drops its rights, takes its limits and runs the tests. When the first one in there ends, the kernel ends
all that the tests started. What this machine does not allow is left out and told in `isolation`; without a limit on
the number of processes nothing is run. Linux only; standard library only; never imported by the package.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import stat
import sys
import time
from typing import Any

NEW_USER, NEW_MOUNTS, NEW_NET, NEW_PIDS, NEW_IPC = 0x10000000, 0x20000, 0x40000000, 0x20000000, 0x08000000
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 32, 4096, 16384, 1 << 18
DIE_WITH_PARENT, NO_NEW_RIGHTS, ADOPT = 1, 38, 36  # prctl
PYTHON = os.path.realpath(sys.executable)
TOLD_LIMIT, REPORT_LIMIT = 200_000, 50_000
_libc = ctypes.CDLL(None, use_errno=True)


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Run the tests and wait for their end, or for that of their time."""
    _libc.prctl(ADOPT, 1, 0, 0, 0)
    folder, nonce = f"/tmp/tests-{os.urandom(12).hex()}", os.urandom(16).hex()  # noqa: S108 - new, and nobody can guess it
    os.mkdir(folder, 0o700)
    pipes = {name: os.pipe() for name in ("output", "told", "report")}
    keeper = os.fork()
    if keeper == 0:
        try:
            os._exit(_keep(order, folder, nonce, {name: ends[1] for name, ends in pipes.items()}))
        except BaseException as error:  # noqa: BLE001 - whatever it was, a fork must not go on as its parent
            os.write(pipes["report"][1], json.dumps({"refused": f"{type(error).__name__}: {error}"}).encode() + b"\n")
            os._exit(70)
    for _, end in pipes.values():
        os.close(end)
    caps = {"output": int(order["output"]), "told": TOLD_LIMIT, "report": REPORT_LIMIT}
    texts, in_time = _read({name: ends[0] for name, ends in pipes.items()}, caps, time.monotonic() + order["seconds"])
    _end_all()
    shutil.rmtree(folder, ignore_errors=True)
    report: dict[str, Any] = {}
    for line in texts["report"].splitlines():
        report.update(json.loads(line))
    told = [line[len(nonce) :] for line in texts["told"].splitlines() if line.startswith(nonce)]
    return {
        **report,
        "ended": report.get("ended", "lost") if in_time else "timeout",
        "facts": [json.loads(line) for line in told],
        "output": texts["output"],
    }


def _read(ends: dict[str, int], caps: dict[str, int], until: float) -> tuple[dict[str, str], bool]:
    """Read the pipes until the report is complete. Of the output the end is kept, of the rest the beginning."""
    held = dict.fromkeys(ends, b"")
    is_open = set(ends)
    while "report" in is_open and (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([ends[name] for name in is_open], [], [], left)
        _take(ends, caps, held, is_open, ready)
    in_time = "report" not in is_open
    while is_open and (ready := select.select([ends[name] for name in is_open], [], [], 0)[0]):  # what is left over
        _take(ends, caps, held, is_open, ready)
        if time.monotonic() > until + 1:
            break
    return {name: text.decode("utf-8", "replace") for name, text in held.items()}, in_time


def _take(
    ends: dict[str, int], caps: dict[str, int], held: dict[str, bytes], is_open: set[str], ready: list[int]
) -> None:
    for name in [name for name in is_open if ends[name] in ready]:
        part = os.read(ends[name], 1 << 16)
        if not part:
            is_open.discard(name)
        all_of_it = held[name] + part
        held[name] = all_of_it[-caps[name] :] if name == "output" else all_of_it[: caps[name]]


def _end_all() -> None:
    """End every descendant: orphans become children of this process, round after round, until there is none."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _children() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                    found.append(int(name))
    return found


def _keep(order: dict[str, Any], folder: str, nonce: str, ends: dict[str, int]) -> int:
    """Enter namespaces, as far as the kernel lets, and start the first process in there."""
    alone = _leave()
    first = os.fork()
    if first == 0:
        _libc.prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        return _look_after(order, folder, nonce, ends, alone=alone)
    os.close(ends["report"])
    os.waitpid(first, 0)
    return 0


def _leave() -> bool:
    """Leave the machine's mounts, network and processes. A user who is not root needs a user namespace for that.

    Root goes without one: there it would stay root to the kernel, whose processes nobody counts.
    """
    spaces = NEW_MOUNTS | NEW_NET | NEW_PIDS | NEW_IPC
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return bool(_libc.unshare(spaces) == 0)
    if _libc.unshare(spaces | NEW_USER) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    return True


def _look_after(order: dict[str, Any], folder: str, nonce: str, ends: dict[str, int], *, alone: bool) -> int:
    """Build the root folder, write the files, start the tests, wait, and tell which files they changed."""
    rooted = alone and _build_root(folder, int(order["file_mb"]))
    work = "/work" if rooted else folder
    os.chmod(work, 0o755)  # noqa: S103 - the tests run as another user
    user, processes = _whom(rooted=rooted, alone=alone, most=int(order["processes"]))
    for path, text in order["files"].items():
        _write(work, path, text)
    if user is not None:
        for base, _, names in os.walk(work):
            for path in [base, *(os.path.join(base, name) for name in names)]:
                os.chown(path, user, user)
    isolation = {
        "network": "cut" if alone else "open",
        "files": "own root" if rooted else "open",
        "user": "same" if user is None else "other",
        "processes": "own namespace" if alone else "shared",
    }
    os.write(ends["report"], json.dumps({"isolation": isolation}).encode() + b"\n")
    tests = os.fork()
    if tests == 0:
        _run_tests(order, work, nonce, ends, user, processes)
    ended = 0
    while True:
        pid, status = os.wait()  # orphans too, where this is the first process of its namespace
        if pid == tests:
            ended = os.waitstatus_to_exitcode(status)
            break
    changed = [path for path, text in order["files"].items() if _content(work, path) != text]
    how = f"exit {ended}" if ended >= 0 else f"signal {-ended}"
    os.write(ends["report"], json.dumps({"ended": how, "changed": changed}).encode() + b"\n")
    return 0


def _whom(*, rooted: bool, alone: bool, most: int) -> tuple[int | None, int]:
    """As which user the tests run (None = as this one), and the limit on processes to set for it.

    The kernel counts processes by user, and never those of root. So root becomes a user whom nobody else is.
    """
    if os.geteuid() == 0:
        if not rooted and not _reachable(PYTHON):
            raise PermissionError(f"root cannot limit processes, and no other user can run {PYTHON}")
        return 1_000_000_000 + int.from_bytes(os.urandom(4), "big") % 1_000_000_000, most
    if alone:
        return None, most  # a user namespace counts for itself
    mine = sum(1 for name in os.listdir("/proc") if name.isdigit() and _owner(f"/proc/{name}") == os.geteuid())
    return None, mine + most


def _owner(path: str) -> int:
    try:
        return os.stat(path).st_uid
    except OSError:
        return -1


def _reachable(path: str) -> bool:
    """Whether any user may run it."""
    if not os.stat(path).st_mode & stat.S_IXOTH:
        return False
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
    return True


def _run_tests(
    order: dict[str, Any], work: str, nonce: str, ends: dict[str, int], user: int | None, processes: int
) -> None:
    """Become the process that runs the tests. Does not return."""
    try:
        os.setsid()
        told = json.dumps({"nonce": nonce, "path": order["path"], "source": order["source"]})
        given = os.memfd_create("order")
        os.write(given, told.encode())
        os.lseek(given, 0, os.SEEK_SET)
        kept = [os.dup(end) for end in (given, ends["output"], ends["output"], ends["told"])]
        for target, end in enumerate(kept):
            os.dup2(end, target)
        os.closerange(4, 1024)
        os.chdir(work)
        megabyte = 1 << 20
        for kind, most in (
            (resource.RLIMIT_CPU, int(order["seconds"]) + 1),
            (resource.RLIMIT_AS, int(order["memory_mb"]) * megabyte),
            (resource.RLIMIT_FSIZE, int(order["file_mb"]) * megabyte),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NPROC, processes),
        ):
            resource.setrlimit(kind, (most, most))
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        _libc.prctl(NO_NEW_RIGHTS, 1, 0, 0, 0)
        os.execve(PYTHON, [PYTHON, "-I", "-S", "-B", "-c", order["harness"]], {})  # noqa: S606 - no shell is wanted
    except BaseException as error:  # noqa: BLE001 - a fork must not go on as its parent
        os.write(2, f"not started: {type(error).__name__}: {error}".encode())
    os._exit(71)


def _build_root(folder: str, size_mb: int) -> bool:
    """A root that holds Python, read-only, and room for a few files in memory. False where mounting is not allowed."""
    try:
        _mount("none", "/", flags=RECURSIVE | PRIVATE)
        _mount("tmpfs", folder, kind="tmpfs", told=f"size={4 * size_mb}m,mode=755")
        for path in ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", sys.base_prefix):
            if os.path.islink(path):
                os.symlink(os.readlink(path), folder + path)
            elif os.path.isdir(path) and not os.path.isdir(folder + path):
                _show(path, folder + path)
        for packages in _packages(folder):
            _mount("tmpfs", packages, flags=READ_ONLY, kind="tmpfs", told="size=4k")
        os.mkdir(folder + "/dev")
        for name in ("null", "zero", "random", "urandom"):
            open(f"{folder}/dev/{name}", "w", encoding="ascii").close()
            _mount(f"/dev/{name}", f"{folder}/dev/{name}", flags=BIND)
        for name, mode in (("tmp", 0o1777), ("work", 0o755)):
            os.mkdir(f"{folder}/{name}")
            os.chmod(f"{folder}/{name}", mode)
        os.chroot(folder)
        os.chdir("/work")
    except OSError:
        return False
    return True


def _packages(root: str) -> list[str]:
    """Folders of installed packages: tests have the standard library only, and this package's content lies there."""
    found = []
    for prefix in dict.fromkeys((sys.base_prefix, "/usr", "/usr/local")):
        lib = f"{root}{prefix}/lib"
        for python in os.listdir(lib) if os.path.isdir(lib) else ():
            for name in ("site-packages", "dist-packages"):
                path = f"{lib}/{python}/{name}"
                if python.startswith("python3") and os.path.isdir(path):
                    found.append(path)
    return found


def _show(path: str, target: str) -> None:
    """Show a folder of the machine at another place, read-only."""
    os.makedirs(target)
    _mount(path, target, flags=BIND | RECURSIVE)
    held = os.statvfs(target).f_flag
    kept = held & 0xF | (1 << 21 if held & 4096 else 0) | held & 0xC00  # flags that a user namespace may not take away
    _mount("none", target, flags=REMOUNT | BIND | READ_ONLY | kept)


def _mount(source: str, target: str, *, flags: int = 0, kind: str | None = None, told: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind, told)]
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def _write(work: str, path: str, text: str) -> None:
    target = os.path.join(work, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8") as file:
        file.write(text)


def _content(work: str, path: str) -> str | None:
    """What a file holds after the tests; None where it is gone or no plain file. Links are not followed."""
    try:
        with open(
            os.open(os.path.join(work, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8"
        ) as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except (OSError, ValueError):
        return None


json.dump(run(json.load(sys.stdin)), sys.stdout)
