"""What uplink remembers over a restart: how far its archive is confirmed. It may be lost: then the archive is read."""

from pathlib import Path

import msgspec

from daemon.uplink.shipping import Mark
from signing.durable import write_durably

FOLDER, FILE = "uplink", "archive.json"


class Memory(msgspec.Struct, frozen=True):
    """`target`: the archive that this is about. `told`: the recorder has it on record. Hashes in hex."""

    target: str
    size: int
    chain: str
    roots: list[tuple[int, str]]
    images: int
    told: bool = False

    @property
    def mark(self) -> Mark:
        roots = tuple((level, bytes.fromhex(root)) for level, root in self.roots)
        return Mark(self.size, bytes.fromhex(self.chain), roots, self.images)


def remembered(target: str, mark: Mark, *, told: bool) -> Memory:
    """Return what is to be remembered of a mark."""
    roots = [(level, root.hex()) for level, root in mark.roots]
    return Memory(target, mark.size, mark.chain.hex(), roots, mark.images, told)


def load(state: Path, target: str) -> Memory:
    """Return what was remembered of this archive; nothing where that cannot be read or is about another one."""
    try:
        found = msgspec.json.decode((state / FOLDER / FILE).read_bytes(), type=Memory)
        if found.target == target and len(found.mark.chain) == len(Mark().chain):
            return found
    except (OSError, msgspec.MsgspecError, ValueError):
        pass
    return remembered(target, Mark(), told=True)


def save(state: Path, memory: Memory) -> None:
    """Make it durable.

    Raises:
        OSError: the state folder cannot be written.
    """
    folder = state / FOLDER
    folder.mkdir(exist_ok=True)
    write_durably(folder / FILE, msgspec.json.encode(memory) + b"\n")
