"""Verify a folder of Linewarden records, format 1 (records-v1.md). Python >= 3.9 and `cryptography`, nothing else.

In this order, and the first thing that is wrong is named: records.json; public keys; checkpoint notes (form, origin,
signature); entries (no gap, own number, chain; the tree's root at every checkpoint); images, documents; foreign files.
Exit status: 0 everything holds, 1 altered or incomplete, 2 wrong arguments."""

import argparse
import base64
import json
import re
from collections import defaultdict
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

LONGEST, HEAD, WORDS, PINNED = 1 << 24, 65, ("what", "who", "code"), ("station", "bundle", "recipe", "register_map")
BELONGS = (
    r"records\.json|verify_records\.py|keys/[0-9a-f]{8}\.pem|checkpoints/[0-9]{12}\.note|documents/[0-9a-f]{64}|"
    r"entries/[0-9]{12}-[0-9]{12}\.jsonl|images/([0-9a-f]{2})/\1[0-9a-f]{62}\.pgm"
)
INDEX = (
    rb'\{"format":1,"origin":"[!#-\[\]-~]+","first":(0|[1-9][0-9]{0,11}),"chain":"[0-9a-f]{64}","frontier":\['
    rb'(\[(0|[1-9][0-9]?),"[0-9a-f]{64}"\](,(?=\[))?)*\],"images":(true|false)(,"documents":(true|false))?\}\n?'
)
NOTE = rb"([!-~]+)\n(0|[1-9][0-9]{0,11})\n([!-~]+)\n\n\xe2\x80\x94 \1 ([!-~]+)\n(?:\xe2\x80\x94 [!-~]+ [!-~]+\n)*"
HOLDS = "OK: entries {first} to before {end} of {origin}; {checkpoints} checkpoints, {images} images, {documents} "
SIGNERS = "documents; signed by the key with the fingerprint {keys}"
COMPARE = ", which is the folder's own: compare it with one from another source"


class Altered(Exception):
    """What is wrong, and with which record or file."""


def need(holds, text):
    if not holds:
        raise Altered(text)


class Records:
    def __init__(self, folder):
        self.folder, self.paths = Path(folder), defaultdict(list)  # {part of the folder: paths in it}
        self.heads, self.keys, self.signers = defaultdict(list), {}, {}  # {size: [(note, root)]}, {id: (print, key)}
        self.demanded = {}  # {digest of an image or document: entry that demands it, -1 once it was seen}
        for path in self.folder.rglob("*"):
            name, plain = path.relative_to(folder).as_posix(), path.is_file() and not path.is_symlink()
            if plain or path.is_symlink() or not path.is_dir():
                self.paths[name.split("/")[0] if plain and re.fullmatch(BELONGS, name) else "foreign"].append(name)
        raw = (self.folder / "records.json").read_bytes() if self.paths["records.json"] else b""
        need(re.fullmatch(INDEX, raw), "records.json: is missing or not what an export of format 1 writes")
        self.told = {"documents": False, **json.loads(raw)}
        self.first = self.end = self.told["first"]
        levels = [level for level in range(40, -1, -1) if self.first >> level & 1]
        need([level for level, _ in self.told["frontier"]] == levels, "records.json: no frontier of its first entry")
        need(self.first or self.told["chain"] == "0" * 64, "records.json: the chain before entry 0 is not zero")

    def verify(self, keys, witnesses):
        """Check everything and return what there is. Raises Altered."""
        self.take_keys(keys)
        newest = max(map(self.take_note, sorted(self.paths["checkpoints"])), default=self.first)
        known = max([newest, *map(self.take_note, witnesses)])
        self.check_entries()
        need(known <= self.end, f"entries {self.end} to {known - 1} are missing: a checkpoint covers them")
        need(self.heads and newest == self.end, f"entries {newest} to {self.end - 1} are covered by no checkpoint here")
        self.check_files()
        need(not self.paths["foreign"], f"{min(self.paths['foreign'], default='')}: does not belong here")
        told = {part: len(self.paths[part]) for part in ("checkpoints", "images", "documents")}
        return {**self.told, **told, "end": self.end, "root": self.root.hex(), "keys": " and ".join(self.signers)}

    def take_keys(self, named):
        """Keep the keys that count: those named, otherwise the folder's own, which must be what their names say."""
        for path in [*self.paths["keys"], *named]:
            raw, spki = (self.folder / path).read_bytes(), PublicFormat.SubjectPublicKeyInfo
            try:
                key = load_pem_public_key(raw)
                fingerprint = sha256(key.public_bytes(Encoding.DER, spki)).hexdigest()
                own = path in named or (raw, path[5:13]) == (key.public_bytes(Encoding.PEM, spki), fingerprint[:8])
                need(own and key.curve.name == "secp256r1", "")
            except Exception:  # whatever the library makes of it
                raise Altered(f"{path}: is not an ECDSA P-256 public key, or not that of its name") from None
            if path in named or not named:
                self.keys[fingerprint[:8]] = fingerprint, key

    def take_note(self, path):
        """Check a checkpoint and keep its root; return its size. Signatures under other names are not judged."""
        need(match := re.fullmatch(NOTE, raw := (self.folder / path).read_bytes()), f"{path}: is no checkpoint note")
        origin, size, made = match[1].decode(), int(match[2]), b""
        need(origin == self.told["origin"], f"{path}: is of {origin}, records.json of {self.told['origin']}")
        fits = size >= self.first and (isinstance(path, Path) or path == f"checkpoints/{size:012d}.note")
        need(fits, f"{path}: is over {size} entries, those here begin with {self.first}")
        try:
            made = base64.b64decode(match[4], validate=True)
            fingerprint, key = self.keys[made[:4].hex()]
            key.verify(made[4:], raw[: match.end(3) + 1], ec.ECDSA(SHA256()))
            need(base64.b64encode(made) == match[4], "")
            self.heads[size].append((path, base64.b64decode(match[3], validate=True)))
        except KeyError:
            raise Altered(f"{path}: signed by key {made[:4].hex()}, which is not one of those that count") from None
        except Exception:  # InvalidSignature, or another form
            raise Altered(f"{path}: its signature does not hold") from None
        self.signers[fingerprint] = path
        return size

    def check_entries(self):
        tops, chain = [bytes.fromhex(top) for _, top in self.told["frontier"]], bytes.fromhex(self.told["chain"])
        good = self.check_root(tops, 0)
        for path in sorted(self.paths["entries"]):
            need(int(path[8:20]) == self.end < int(path[21:33]), f"{path}: entry {self.end} should come next")
            with open(self.folder / path, "rb") as file:
                for number in range(self.end, int(path[21:33])):
                    line, self.end = file.readline(LONGEST), number + 1
                    top = sha256(b"\0" + line[HEAD:-1]).digest()
                    chain = sha256(chain + top).digest()
                    own = b',"entry":%d,"origin":"' % number in line
                    if not own or line[:HEAD] != chain.hex().encode() + b" " or line[-1:] != b"\n":
                        self.name_broken(path, number, line)
                    for _ in range((self.end & -self.end).bit_length() - 1):  # so many complete subtrees join
                        top = sha256(b"\1" + tops.pop() + top).digest()
                    tops.append(top)
                    if b'"type":"evidence_row"' in line or b'_opened"' in line:
                        self.demand(number, json.loads(line[HEAD:])["row"])
                    if self.end in self.heads:
                        good = self.check_root(tops, good)
                need(not file.read(1), f"{path}: goes on behind entry {self.end - 1}")

    def check_root(self, tops, good):
        """Compare the tree over the entries before `end` with the checkpoints over as many; return `end`."""
        self.root = tops[-1] if tops else sha256(b"").digest()
        for top in tops[-2::-1]:
            self.root = sha256(b"\1" + top + self.root).digest()
        for path in (path for path, signed in self.heads.get(self.end, ()) if signed != self.root):
            raise Altered(
                f"between checkpoints over {good} and {self.end} entries: the chain is whole, {path} signed others"
            )
        return self.end

    def demand(self, number, row):
        if row["type"] == "evidence_row" and self.told["images"]:
            self.demanded[bytes.fromhex(row["digest"])] = -1 if row["state"] == "dropped" else number
        elif row["type"] in ("batch_opened", "sublot_opened") and self.told["documents"]:
            self.demanded.update((bytes.fromhex(row[name]), number) for name in PINNED if name in row)

    def name_broken(self, path, number, line):
        """Say what is wrong with the line that should be entry `number`, in an inspector's words, as it reads now."""
        need(line, f"{path}: ends before entry {number}, which is missing")
        found = re.search(rb',"entry":([0-9]{1,12}),"origin":"', line)
        there = int(found[1]) if found else number
        try:
            record = json.loads(line[HEAD:])
            row, (at_s, rest_ns) = record["row"], divmod(record["at"], 10**9)
            words = [row["type"], ".".join(map(str, row.get("unit") or ())), *map(row.get, WORDS), record["batch"]]
            at = f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest_ns // 10**6:03d}Z"  # noqa: UP017
            words = f"({' '.join(str(word) for word in words if word)}, recorded {at})"
        except Exception:  # its text was altered
            words = "(not readable any more)"
        wrong = "its text is not what was chained" if there == number else f"says of itself that it is entry {there}"
        raise Altered(f"entry {number} {words}: {wrong}")

    def check_files(self):
        for path in sorted(self.paths["images"] + self.paths["documents"]):
            raw, name = (self.folder / path).read_bytes(), re.search("[0-9a-f]{64}", path)[0]
            if path.startswith("images"):
                need(bytes.fromhex(name) in self.demanded, f"{path}: no entry names this image")
                head = re.match(rb"P5\n([1-9][0-9]{0,4}) ([1-9][0-9]{0,4})\n255\n", raw)
                raw = head and int(head[1]) * int(head[2]) == len(raw) - head.end() and raw[head.end() :]
            need(raw and sha256(raw).hexdigest() == name, f"{path}: is not what its name says")
            self.demanded[bytes.fromhex(name)] = -1
        number, digest = min(((entry, name) for name, entry in self.demanded.items() if entry >= 0), default=(0, b""))
        need(not digest, f"entry {number}: the image or document {digest.hex()} is missing")


def main():
    parser = argparse.ArgumentParser(description="Verify a folder of Linewarden records, format 1.")
    parser.error = lambda text: parser.exit(2, f"{parser.prog}: {text}\n")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    for name, what in (("key", "public key (PEM); only these count"), ("witness", "a checkpoint kept elsewhere")):
        parser.add_argument(
            f"--{name}", type=lambda text: Path(text).absolute(), action="append", default=[], help=what
        )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if not (asked.folder.is_dir() and all(path.is_file() for path in asked.key + asked.witness)):
        parser.error("FOLDER, a key or a witness is not there")
    try:
        told = Records(asked.folder).verify(asked.key, asked.witness)
        text = (HOLDS + SIGNERS + ("" if asked.key else COMPARE)).format(**told)
    except Exception as error:  # garbage of a kind that nobody thought of is no verified record either
        text = str(error) if isinstance(error, Altered) else f"cannot be verified: {error!r}"
        told, text = {}, f"ALTERED{' ' if text.startswith('between') else ': '}{text}"
    text = "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in text)
    print(json.dumps({"ok": bool(told), "text": text, **told}) if asked.json else text)
    return 0 if told else 1


if __name__ == "__main__":
    raise SystemExit(main())
