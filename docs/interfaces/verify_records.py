#!/usr/bin/env python3
"""Verify a folder of Linewarden records, format 1 (records-v1.md). Needs Python >= 3.9 and `cryptography`, nothing else.

    python verify_records.py FOLDER [--key PUBLIC.pem ...] [--witness NOTE ...] [--json]

In this order, and the first thing that is wrong is named: records.json; public keys; checkpoint notes (form, origin,
signature); entries (no gap, own number, chain; the tree's root at every checkpoint); images; documents; foreign files.
Exit status: 0 everything holds, 1 altered or incomplete, 2 wrong arguments.
"""

import argparse
import base64
import json
import os
import re
import stat
import sys
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LONGEST_LINE, LARGEST_FILE, HEAD = 1 << 24, 1 << 29, 65
PARTS = {
    "records.json": r"records\.json",
    "verify_records.py": r"verify_records\.py",
    "keys": r"keys/[0-9a-f]{8}\.pem",
    "checkpoints": r"checkpoints/[0-9]{12}\.note",
    "entries": r"entries/[0-9]{12}-[0-9]{12}\.jsonl",
    "images": r"images/([0-9a-f]{2})/\1[0-9a-f]{62}\.pgm",
    "documents": r"documents/[0-9a-f]{64}",
}
INDEX = (
    rb'\{"format":1,"origin":"[!#-\[\]-~]+","first":(0|[1-9][0-9]{0,11}),"chain":"[0-9a-f]{64}","frontier":\['
    rb'(\[(0|[1-9][0-9]?),"[0-9a-f]{64}"\](,(?=\[))?)*\],"images":(true|false)(,"documents":(true|false))?\}\n?'
)
BASE64 = rb"[A-Za-z0-9+/]+={0,2}"
NOTE = rb"([!-~]+)\n(0|[1-9][0-9]{0,11})\n(%b)\n\n\xe2\x80\x94 \1 (%b)\n(\xe2\x80\x94 [!-~]+ %b\n)*" % ((BASE64,) * 3)
PGM = rb"P5\n([1-9][0-9]{0,4}) ([1-9][0-9]{0,4})\n255\n"


class Altered(Exception):
    """What is wrong, and with which record or file."""


def need(holds, text):
    if not holds:
        raise Altered(text)


def describe(number, line):
    """Return an entry in an inspector's words, as it reads now."""
    try:
        record = json.loads(line[HEAD:])
        row, (at_s, rest_ns) = record["row"], divmod(record["at"], 10**9)
        words = [row["type"], ".".join(map(str, row.get("unit") or ())), row.get("what"), row.get("who"), row.get("code")]
        batch = f", batch {record['batch']}" if record["batch"] else ""
        at = f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest_ns // 10**6:03d}Z"
        return f"entry {number} ({' '.join(str(word) for word in words if word)}{batch}, recorded {at})"
    except Exception:  # its text was altered
        return f"entry {number} (not readable any more)"


def name_broken(path, number, line):
    """Say what is wrong with the line that should be entry `number`."""
    need(line, f"{path}: ends before entry {number}, which is missing")
    found = re.search(rb',"entry":([0-9]{1,12}),"origin":"', line)
    if line[-1:] == b"\n" and found and int(found[1]) != number:
        raise Altered(f"entry {number}: in its place stands {describe(int(found[1]), line)}")
    raise Altered(f"{describe(number, line)}: its text is not what was chained")


class Records:
    """A folder on the way to being verified."""

    def __init__(self, folder):
        self.folder, self.foreign, self.paths = Path(folder), [], {part: [] for part in PARTS}
        for path in sorted(self.folder.rglob("*")):
            name, state = path.relative_to(folder).as_posix(), path.lstat()
            fits = re.fullmatch(PARTS.get(name.split("/")[0], ""), name) and stat.S_ISREG(state.st_mode)
            if fits and (state.st_size <= LARGEST_FILE or name.startswith("entries")):
                self.paths[name.split("/")[0]].append(name)
            elif not stat.S_ISDIR(state.st_mode):
                self.foreign.append(name)
        need(self.paths["records.json"], "records.json: is missing")
        need(re.fullmatch(INDEX, raw := self.read("records.json")), "records.json: is not what an export of format 1 writes")
        self.told = {"documents": False, **json.loads(raw)}
        self.first = self.end = self.told["first"]
        self.heads, self.keys, self.signers = {}, {}, set()  # {size: [(label, root)]}, {key id: (fingerprint, key)}
        self.images, self.pinned = {}, {}  # {digest: entry that demands it, -1 for none}, {digest: entry}
        levels = [level for level in range(40, -1, -1) if self.first >> level & 1]
        need([level for level, _ in self.told["frontier"]] == levels, "records.json: no frontier of its first entry")
        need(self.first or self.told["chain"] == "0" * 64, "records.json: the chain before entry 0 is not zero")

    def read(self, name):
        return (self.folder / name).read_bytes()

    def take_keys(self, named):
        """Keep the keys that count: those named, otherwise the folder's own, which must be what their names say."""
        for path in [*named, *self.paths["keys"]]:
            raw, form = (Path(path).read_bytes() if path in named else self.read(path)), serialization.PublicFormat
            try:
                key = serialization.load_pem_public_key(raw)
                pem, der = (key.public_bytes(kind, form.SubjectPublicKeyInfo) for kind in ENCODINGS)
                need(key.curve.name == "secp256r1", "")
            except Exception:  # whatever the library makes of it
                raise Altered(f"{path}: is not an ECDSA P-256 public key") from None
