"""Hash chain, Merkle tree and signed tree heads of the audit trail (docs/interfaces/records-v1.md). Pure.

RFC 6962 section 2.1 for the tree, C2SP tlog-checkpoint and signed-note for the heads. Hashes are 32 bytes of sha256.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

START = bytes(32)
TILE_LEVELS = 8
KEY_ID_BYTES = 4
LONGEST_SIZE = 18

_ODD = re.compile(r"[^A-Za-z0-9._-]")
_DASH = "\N{EM DASH}"


class ChainError(Exception):
    """A chain, tree or checkpoint is not what it should be; the text says where."""


def leaf(body: bytes) -> bytes:
    """Return the leaf hash of an entry's body."""
    return hashlib.sha256(b"\0" + body).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


def link(before: bytes, leaf_hash: bytes) -> bytes:
    """Return the chain hash of an entry from the one before it (START for entry 0) and its leaf."""
    return hashlib.sha256(before + leaf_hash).digest()


@dataclass(slots=True)
class Frontier:
    """The complete subtrees over the first `size` leaves, largest first, as (level, hash)."""

    size: int = 0
    roots: list[tuple[int, bytes]] = field(default_factory=list)

    def append(self, leaf_hash: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf; return what became complete at the levels of a tile as (level, position, hash)."""
        done: list[tuple[int, int, bytes]] = []
        level, top, roots = 0, leaf_hash, self.roots
        while roots and roots[-1][0] == level:
            top = node(roots.pop()[1], top)
            level += 1
            if not level % TILE_LEVELS:
                done.append((level, self.size >> level, top))
        roots.append((level, top))
        self.size += 1
        return done

    def root(self) -> bytes:
        """Return the tree's root hash; that of an empty tree is sha256 of nothing."""
        found: bytes | None = None
        for _, top in reversed(self.roots):
            found = top if found is None else node(top, found)
        return found if found is not None else hashlib.sha256().digest()

    def copy(self) -> "Frontier":
        return Frontier(self.size, list(self.roots))


def complete_subtrees(size: int) -> list[tuple[int, int]]:
    """Return (level, position) of the complete subtrees over the first `size` leaves, largest first."""
    found, begin = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append((level, begin >> level))
            begin += 1 << level
    return found


def subtree(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a complete subtree over these leaf or node hashes; their number is a power of two."""
    layer = list(leaves)
    while len(layer) > 1:
        layer = [node(layer[i], layer[i + 1]) for i in range(0, len(layer), 2)]
    return layer[0]


def origin(station: str, identity: int) -> str:
    """Return the name under which this device's trail is signed."""
    return f"linewarden/{_ODD.sub('-', station)}/{identity:08x}"


def key_id(public_der: bytes) -> bytes:
    """Return the id of an ECDSA key from its SubjectPublicKeyInfo (type 0x02 of C2SP signed-note)."""
    return hashlib.sha256(public_der).digest()[:KEY_ID_BYTES]


def head_text(name: str, size: int, root: bytes) -> str:
    """Return the text of a checkpoint that is signed; it ends with a line feed."""
    return f"{name}\n{size}\n{base64.b64encode(root).decode()}\n"


def note(text: str, signatures: Iterable[tuple[str, bytes, bytes]]) -> str:
    """Return a signed note: `text` and for each signature (name, key id, DER signature) one line."""
    lines = [f"{_DASH} {name} {base64.b64encode(key + made).decode()}\n" for name, key, made in signatures]
    return text + "\n" + "".join(lines)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a signed note says, whether its signatures hold or not: (key id, DER signature) over `text`."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[bytes, bytes], ...]


def parse_note(written: str) -> Checkpoint:
    """Return what a note says. Signatures of other names than its origin (witnesses) are left out.

    Raises:
        ChainError: not a checkpoint in the one form that `head_text` and `note` write.
    """
    text, blank, rest = written.partition("\n\n")
    lines = text.split("\n")
    counted = len(lines) == 3 and lines[1].isdecimal() and len(lines[1]) <= LONGEST_SIZE
    if not blank or not counted or not rest.endswith("\n"):
        raise ChainError("not a checkpoint: three lines, an empty one and signatures are expected")
    try:
        root = base64.b64decode(lines[2], validate=True)
        signatures = tuple(_signature(line) for line in rest[:-1].split("\n") if line.split(" ")[1] == lines[0])
    except (ValueError, IndexError, binascii.Error) as error:
        raise ChainError(f"not a checkpoint: {error}") from error
    found = Checkpoint(lines[0], int(lines[1]), root, text + "\n", signatures)
    if head_text(found.origin, found.size, found.root) != found.text:
        raise ChainError("not a checkpoint: its text has another form")
    return found


def _signature(line: str) -> tuple[bytes, bytes]:
    dash, _, encoded = line.split(" ")
    made = base64.b64decode(encoded, validate=True)
    if dash != _DASH or base64.b64encode(made).decode() != encoded:
        raise ValueError("a signature line has another form")
    return made[:KEY_ID_BYTES], made[KEY_ID_BYTES:]


def note_digest(written: str) -> bytes:
    """Return what is extended into the NV index for a note."""
    return hashlib.sha256(written.encode()).digest()


def fold(before: bytes, digest: bytes) -> bytes:
    """Return what an NV index of type EXTEND holds after `digest` was extended into it (TPM 2.0 part 3, 31.12)."""
    return hashlib.sha256(before + digest).digest()
