"""A process under strace: which of its system calls change files, what it said and heard, and where it is cut off.

The whole truth about one life: whatever call could change a file of the watched folder and is not understood here ends
the run. Strings come in hexadecimal (-xx), descriptors with their paths (-y).
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST = 1 << 22
WRITES = (
    "pwrite64", "write", "fsync", "fdatasync", "ftruncate", "truncate", "openat", "rename", "unlink", "mkdir", "link",
    "symlink", "rmdir",
)  # fmt: skip
TALK = ("sendto", "recvmsg")
NOT_UNDERSTOOD = (
    "writev", "pwritev", "pwritev2", "renameat", "renameat2", "unlinkat", "mkdirat", "linkat", "symlinkat",
    "fallocate", "copy_file_range", "sendfile", "splice", "msync", "mmap", "open", "creat",
)  # fmt: skip
_CALL = re.compile(rb"(\w+)\((.*)\)\s+= (-?\d+|\?|0x[0-9a-f]+)(.*)", re.S)
_HEX = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_FD = re.compile(rb"(\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")


class TraceError(Exception):
    """The log cannot be taken as the truth; the text says which line."""


@dataclass(frozen=True, slots=True)
class Event:
    """One call that succeeded. `begin` and `end` are its lines in the log; `ordinal` counts the calls of that name
    of its thread, as strace's `when=` does. `path` is the watched file's, or the socket's or pipe's name.
    """

    kind: str
    begin: int
    end: int
    thread: int
    ordinal: int
    path: str
    to: str = ""
    offset: int = 0
    data: bytes = b""
    flags: str = ""


def unavailable() -> str:
    """Return why nothing can be traced here, "" if it can."""
    if not shutil.which("strace"):
        return "needs strace: apt-get install strace"
    done = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {done.stderr.strip()[:100]}" if done.returncode else ""


def command(log: Path, run: Sequence[str], cut: tuple[str, int] | None = None) -> list[str]:
    """Return the command that runs `run` traced, killed before the `cut`: n-th call of that name of a thread.

    The traced process stays the child of whoever starts it; strace is its grandchild and ends with it.
    """
    made = ["strace", "-D", "-f", "-q", "-y", "-xx", "-s", str(LONGEST), "-o", str(log)]
    made += ["-e", f"trace={','.join((*WRITES, *TALK, *NOT_UNDERSTOOD))}", "-e", "signal=none"]
    if cut:
        made += ["-e", f"inject={cut[0]}:signal=KILL:when={cut[1]}"]
    return [*made, *run]


def scratch() -> str:
    """Return where crash states are laid out: memory where there is some, so that no fsync waits for a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


def events(log: Path, root: Path) -> list[Event]:
    """Return what a log says about files beneath `root` and about sockets and pipes, in order of `begin`.

    Raises:
        TraceError: a call that could change a file is not understood.
    """
    reader = _Reader(str(root).encode())
    with log.open("rb") as file:
        for number, text in enumerate(file):
            reader.line(number, text.rstrip(b"\n"))
    return sorted(reader.found, key=lambda event: event.begin)


def targets(found: Sequence[Event]) -> list[tuple[str, int]]:
    """Return every (call, n-th of its thread) of a log before which the power can go."""
    kinds = {"create": "openat", "sync": ""}
    chosen = dict.fromkeys((event.flags or kinds.get(event.kind, event.kind), event.ordinal) for event in found)
    return [target for target in chosen if target[0] not in ("", "recvmsg")]


class _Reader:
    def __init__(self, root: bytes) -> None:
        self.found: list[Event] = []
        self._root = root
        self._hexed = b"".join(b"\\x%02x" % byte for byte in root)
        self._open: dict[int, tuple[int, bytes]] = {}
        self._counts: Counter[tuple[int, bytes]] = Counter()
        self._at: dict[int, int] = {}
        self._appends: set[int] = set()

    def line(self, number: int, text: bytes) -> None:
        thread, _, rest = text.partition(b" ")
        rest, pid = rest.lstrip(), int(thread)
        begin = number
        if rest.startswith((b"+++", b"---")):
            return
        if rest.startswith(b"<... "):
            begin, first = self._open.pop(pid)
            rest = first + rest.partition(b" resumed>")[2]
        else:
            self._counts[pid, rest.partition(b"(")[0]] += 1
        if rest.endswith(b"<unfinished ...>"):
            self._open[pid] = (begin, rest.removesuffix(b"<unfinished ...>").rstrip())
            return
        call = _CALL.match(rest)
        if call is None or call[3] == b"?":
            return
        if call[3].startswith(b"-"):
            return
        self._call(call, (begin, number, pid, self._counts[pid, call[1]]))

    def _call(self, call: re.Match[bytes], where: tuple[int, int, int, int]) -> None:
        name, args = call[1].decode(), call[2]
        if name in NOT_UNDERSTOOD:
            shared = name != "mmap" or (b"PROT_WRITE" in args and b"MAP_SHARED" in args)
            if shared and self._hexed in args and b"\\x2d\\x73\\x68\\x6d" not in args:
                raise TraceError(f"line {where[0]}: {name} of a watched file is not understood")
            return
        made = getattr(self, f"_{name}")(args, call)
        if made is not None:
            self.found.append(Event(made.pop("kind"), *where, **made))

    def _inside(self, path: bytes) -> bool:
        return path.startswith(self._root + b"/") and not path.endswith((b"-shm", b".sock"))

    def _openat(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        path = _strings(args)[0]
        if not self._inside(path):
            return None
        fd, flags = int(call[3]), args.rpartition(b'"')[2]
        self._at[fd] = 0
        (self._appends.add if b"O_APPEND" in flags else self._appends.discard)(fd)
        if b"O_CREAT" not in flags and b"O_TRUNC" not in flags:
            return None
        return {"kind": "create", "path": path.decode(), "flags": "openat", "offset": int(b"O_TRUNC" in flags)}

    def _pwrite64(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        _, path, gone = _descriptor(args)
        if gone or not self._inside(path):
            return None
        offset = int(args.rpartition(b", ")[2])
        data = _strings(args)[0][: int(call[3])]
        return {"kind": "write", "path": path.decode(), "offset": offset, "data": data, "flags": "pwrite64"}

    def _write(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        fd, path, gone = _descriptor(args)
        data = _strings(args)[0][: int(call[3])]
        if gone or not self._inside(path):
            said = "stdout" if fd == 1 else path.decode() if path.startswith(b"socket:") else ""
            return {"kind": "say", "path": said, "data": data, "flags": "write"} if said else None
        if fd not in self._at:
            raise TraceError(f"a write to {path!r} through a descriptor that was not opened there")
        offset = -1 if fd in self._appends else self._at[fd]
        self._at[fd] += len(data)
        return {"kind": "write", "path": path.decode(), "offset": offset, "data": data, "flags": "write"}

    def _fsync(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        _, path, gone = _descriptor(args)
        if gone or not (self._inside(path) or path == self._root):
            return None
        return {"kind": "sync", "path": path.decode(), "flags": call[1].decode()}

    _fdatasync = _fsync

    def _ftruncate(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        _, path, gone = _descriptor(args)
        if gone or not self._inside(path):
            return None
        size = int(args.rpartition(b", ")[2])
        return {"kind": "truncate", "path": path.decode(), "offset": size, "flags": "ftruncate"}

    def _truncate(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        path = _strings(args)[0]
        if not self._inside(path):
            return None
        size = int(args.rpartition(b", ")[2])
        return {"kind": "truncate", "path": path.decode(), "offset": size, "flags": "truncate"}

    def _rename(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        path, to = _strings(args)
        if not self._inside(path) and not self._inside(to):
            return None
        return {"kind": "rename", "path": path.decode(), "to": to.decode(), "flags": "rename"}

    def _unlink(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        path = _strings(args)[0]
        return {"kind": "unlink", "path": path.decode(), "flags": "unlink"} if self._inside(path) else None

    def _mkdir(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        path = _strings(args)[0]
        return {"kind": "mkdir", "path": path.decode(), "flags": "mkdir"} if self._inside(path) else None

    def _rmdir(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        path = _strings(args)[0]
        return {"kind": "unlink", "path": path.decode(), "flags": "rmdir"} if self._inside(path) else None

    def _link(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        path, to = _strings(args)
        if not self._inside(path) and not self._inside(to):
            return None
        return {"kind": "link", "path": path.decode(), "to": to.decode(), "flags": "link"}

    def _symlink(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        target, path = _strings(args)
        if not self._inside(path):
            return None
        return {"kind": "symlink", "path": path.decode(), "to": target.decode(), "flags": "symlink"}

    def _sendto(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        data = _strings(args)[0][: int(call[3])]
        return {"kind": "say", "path": _descriptor(args)[1].decode(), "data": data, "flags": "sendto"}

    def _recvmsg(self, args: bytes, call: re.Match[bytes]) -> dict[str, object] | None:
        data = b"".join(_strings(args))[: int(call[3])]
        return {"kind": "hear", "path": _descriptor(args)[1].decode(), "data": data, "flags": "recvmsg"}


def _strings(args: bytes) -> list[bytes]:
    return list(_unhexed(args))


def _unhexed(args: bytes) -> Iterator[bytes]:
    for found in _HEX.finditer(args):
        if found[2]:
            raise TraceError("a text in the log was cut off")
        yield bytes.fromhex(found[1].replace(b"\\x", b"").decode())


def _descriptor(args: bytes) -> tuple[int, bytes, bool]:
    found = _FD.match(args)
    if found is None:
        raise TraceError(f"no descriptor: {args[:80]!r}")
    return int(found[1]), bytes.fromhex(found[2].replace(b"\\x", b"").decode()), bool(found[3])
