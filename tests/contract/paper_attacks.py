"""Attacks on what is delivered: the folder of a bundle, its files, what both people sign, and its models.

Those on signatures, trust, recipes and orders are in signature_attacks.py.
"""

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.contract.attack import Attack, Attempt, listed_in
from tests.contract.paper_world import Delivery
from tests.unit.test_signing_graph import REFUSED as GRAPHS
from tests.vectors import bundle_1

FOLDER: list[Attack[Delivery]] = []
CONTENT: list[Attack[Delivery]] = []
HELD: list[Attack[Delivery]] = []
attack = listed_in(HELD)

Damage = Callable[[Path], object]
ENTRY = {"sha256": "0" * 64, "size": 1}


def _damaged(name: str, expected: str, damage: Damage, says: str) -> None:
    """List an attack on the folder itself."""

    def prepare(world: Delivery) -> Attempt:
        damage(world.bundle)
        return world.takes_bundle

    FOLDER.append(Attack(name, expected, prepare, says))


def _signed(name: str, expected: str, says: str, prepare: Callable[[Delivery], object]) -> None:
    """List a bundle that both people signed and that no device may load."""

    def prepared(world: Delivery) -> Attempt:
        prepare(world)
        return world.takes_bundle

    CONTENT.append(Attack(name, expected, prepared, says))


# The folder


def _link(bundle: Path) -> None:
    (bundle / "tiny.onnx").rename(bundle.parent / "elsewhere.onnx")
    (bundle / "tiny.onnx").symlink_to(bundle.parent / "elsewhere.onnx")


def _hard_linked_name(bundle: Path) -> None:
    os.link(bundle / "tiny.onnx", bundle / "again.onnx")


def _fifo(bundle: Path) -> None:
    (bundle / "tiny.onnx").unlink()
    os.mkfifo(bundle / "tiny.onnx")


def _socket(bundle: Path) -> None:
    (bundle / "tiny.onnx").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(bundle, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/tiny.onnx")
        os.close(here)


def _subfolder(bundle: Path) -> None:
    (bundle / "tiny.onnx").unlink()
    (bundle / "tiny.onnx").mkdir()


def _git(bundle: Path) -> None:
    """What the stock verifier does not look at."""
    (bundle / ".git").mkdir()
    (bundle / ".git" / "x.onnx").write_bytes((bundle / "tiny.onnx").read_bytes())


def _linked_signatures(bundle: Path) -> None:
    (bundle / "signatures").rename(bundle.parent / "signatures")
    (bundle / "signatures").symlink_to(bundle.parent / "signatures")


def _linked_document(bundle: Path) -> None:
    (bundle / "bundle.json").rename(bundle.parent / "bundle.json")
    (bundle / "bundle.json").symlink_to(bundle.parent / "bundle.json")


def _written(name: str, data: bytes) -> Damage:
    return lambda bundle: (bundle / name).write_bytes(data)


def _flipped(name: str) -> Damage:
    return lambda bundle: bundle_1.flip(bundle / name, 100)


REFUSED = "DirectoryRefused"
for row in (
    ("a file that the document does not name", REFUSED, _written("more.onnx", b"x"), "'more.onnx': the signed"),
    ("a hidden file", REFUSED, _written(".x.onnx", b"x"), "'.x.onnx': the signed document does not name"),
    ("a file with a line feed in its name", REFUSED, _written("a\nb", b"x"), r"'a\nb': the signed document does"),
    ("a second name of a named file", REFUSED, _hard_linked_name, "'again.onnx': the signed document does not"),
    (".git/x.onnx, which the stock verifier skips", REFUSED, _git, "'.git': the signed document does not name"),
    ("600 more files", REFUSED, lambda b: [(b / f"f{i}").touch() for i in range(600)], "more than 576 entries"),
    ("a link in place of the model", REFUSED, _link, "tiny.onnx: a link"),
    ("a link in place of the document", REFUSED, _linked_document, "bundle.json: a link"),
    ("a link in place of signatures/", REFUSED, _linked_signatures, "signatures: "),
    ("a pipe in place of the model", REFUSED, _fifo, "tiny.onnx: not a regular file"),
    ("a socket in place of the model", REFUSED, _socket, "tiny.onnx: No such device"),
    ("a folder in place of the model", REFUSED, _subfolder, "tiny.onnx: not a regular file"),
    ("no model", REFUSED, lambda b: (b / "tiny.onnx").unlink(), "tiny.onnx: missing"),
    ("no document", REFUSED, lambda b: (b / "bundle.json").unlink(), "bundle.json: missing"),
    ("no signatures", REFUSED, lambda b: (b / "signatures").rename(b.parent / "s"), "signatures: missing"),
    ("a longer model", REFUSED, _written("tiny.onnx", b"x" * 318), "318 bytes, the document says 317"),
    ("a shorter model", REFUSED, _written("tiny.onnx", b"x"), "1 bytes, the document says 317"),
    ("a document of 2 MB", REFUSED, _written("bundle.json", b" " * 2_000_000), "at most 1048576 are allowed"),
    ("a bit flipped in the model", "DigestMismatch", _flipped("tiny.onnx"), "tiny.onnx: sha256 is"),
    ("a bit flipped in a golden picture", "DigestMismatch", _flipped("golden.png"), "golden.png: sha256 is"),
    ("a bit flipped in the document", "SignatureInvalid", _flipped("bundle.json"), "it is over bundle.json"),
):
    _damaged(*row)


# What both people signed


def _files(**entries: Any) -> Callable[[Delivery], object]:
    return lambda world: world.edits(files=entries)


def _replaced(old: str, new: str) -> Callable[[Delivery], object]:
    def replace(world: Delivery) -> None:
        world.signs(lambda text: text.replace(old, new, 1))

    return replace


def _too_large(world: Delivery) -> None:
    """Two files more, of 1 GiB each by the document."""
    entry = {"sha256": hashlib.sha256(b"x").hexdigest(), "size": 1 << 30}
    for name in ("a.bin", "b.bin"):
        (world.bundle / name).write_bytes(b"x")
    files = json.loads((world.bundle / "bundle.json").read_text())["files"]
    world.edits(files=files | {"a.bin": entry, "b.bin": entry})


def _without_its_data(world: Delivery) -> None:
    training = json.loads((world.bundle / "bundle.json").read_text())["training"]
    world.edits(training={name: value for name, value in training.items() if name != "dataset_sha256"})


INVALID = "DocumentInvalid"
for said in (
    ("signed: a file name with ../", INVALID, "$.files", _files(**{"../tiny.onnx": ENTRY})),
    ("signed: an absolute file name", INVALID, "$.files", _files(**{"/etc/passwd": ENTRY})),
    ("signed: a file name with a folder", INVALID, "$.files", _files(**{"a/b.onnx": ENTRY})),
    ("signed: a file called .git", INVALID, "$.files", _files(**{".git": ENTRY})),
    ("signed: a file called signatures", INVALID, "has a name that is kept", _files(signatures=ENTRY)),
    ("signed: a file of more than 1 GiB", INVALID, "size", _files(**{"tiny.onnx": {**ENTRY, "size": (1 << 30) + 1}})),
    ("signed: files of more than 2 GiB", REFUSED, "files add up to", _too_large),
    ("signed: 513 files", INVALID, "$.files", _files(**{f"{one}.bin": ENTRY for one in range(513)})),
    ("signed: a bundle name with ../", INVALID, "$.name", lambda world: world.edits(name="../x")),
    ("signed: a key twice", INVALID, "occurs twice", _replaced('"format"', '"format": 1, "format"')),
    ("signed: NaN", INVALID, "NaN", lambda world: world.edits(training={"metrics": {"a": float("nan")}})),
    ("signed: a number past all numbers", INVALID, "1e999 is not a number", _replaced('"seed": 7', '"seed": 1e999')),
    ("signed: 100,000 nested brackets", INVALID, "nested too deep", lambda world: world.signs(lambda _: "[" * 100_000)),
    ("signed: format 0", INVALID, "format 0 is no longer accepted", lambda world: world.edits(format=0)),
    ("signed: a format of the future", INVALID, "format", lambda world: world.edits(format=2)),
    ("signed: an unknown field", INVALID, "unknown field `surprise`", lambda world: world.edits(surprise=1)),
    ("signed: no training record", INVALID, "field `training`", lambda world: world.edits(training=None)),
    ("signed: training without its data", INVALID, "field `dataset_sha256`", _without_its_data),
    ("signed: no golden set", INVALID, "field `golden`", lambda world: world.edits(golden=None)),
    ("signed: no parts list", INVALID, "field `sbom`", lambda world: world.edits(sbom=None)),
):
    _signed(*said)


def _with_graph(change: Callable[[Any], object]) -> Callable[[Delivery], object]:
    def prepare(world: Delivery) -> None:
        proto = bundle_1.tiny_model()
        change(proto)
        world.builds(proto.SerializeToString(deterministic=True))

    return prepare


for title in ("external weights", "hidden location", "external constant", "external tensor list", "subgraph", "loop"):
    _signed(f"signed model: {title}", "GraphRefused", GRAPHS[title][1], _with_graph(GRAPHS[title][0]))
for title in ("if", "foreign domain", "function", "foreign opset", "dynamic shape", "sparse weights", "training"):
    _signed(f"signed model: {title}", "GraphRefused", GRAPHS[title][1], _with_graph(GRAPHS[title][0]))


# After the check


class VerifiedBytesStay(Exception):
    """What is used is what was checked: the attacker's bytes are in the folder and nowhere else."""


def _same_bytes(world: Delivery, change: Callable[[Path], object]) -> Attempt:
    bundle = world.verified()
    whole = {name: file.bytes() for name, file in bundle.files.items()}

    def attempt() -> None:
        for name in bundle.files:
            change(world.bundle / name)
        if {name: bytes(file.view()) for name, file in bundle.files.items()} == whole:
            raise VerifiedBytesStay("the model and all other files in use are the ones that were checked")

    return attempt


@attack("files replaced after the check", "VerifiedBytesStay")
def _replaced_after(world: Delivery) -> Attempt:
    def replace(path: Path) -> None:
        path.unlink()
        path.write_bytes(b"\xff" * 1000)

    return _same_bytes(world, replace)


@attack("files overwritten in place after the check", "VerifiedBytesStay")
def _overwritten_after(world: Delivery) -> Attempt:
    return _same_bytes(world, lambda path: path.write_bytes(b"\xff" * path.stat().st_size))


@attack("the memory with the checked bytes written to", "PermissionError")
def _memory_written(world: Delivery) -> Attempt:
    bundle = world.verified()

    def attempt() -> None:
        held = [fd for fd in map(int, os.listdir("/proc/self/fd")) if _holds(fd, "memfd:tiny.onnx")]
        assert held and bundle.files
        for fd in held:
            os.pwrite(fd, b"\xff", 0)

    return attempt


def _holds(fd: int, what: str) -> bool:
    try:
        return what in os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
