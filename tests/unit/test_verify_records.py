"""verify_records.py: every byte of an export bears, and what was altered is named as an inspector would name it."""

import base64
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records_world import KEY, ORIGIN, OTHER_KEY, complaint, der, key_name, note, pem, two_batches

from provisioning.export import export
from signing import chain

SEED = 20261122
CHECKED_PARTS = ("records.json", "entries", "checkpoints", "keys", "images", "documents")
BODY = 65


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Exports of one device: the whole trail and each of its two batches, with images and documents."""
    root = tmp_path_factory.mktemp("records")
    world = two_batches(root / "state", 24)
    for batch in ("", "B-1", "B-2"):
        export(world.sources(), root / f"out{batch}", batch, images=True, step=lambda *_: None)
    world.close()
    return {batch: root / f"out{batch}" for batch in ("", "B-1", "B-2")}


@pytest.fixture
def folder(exports, tmp_path):
    """A copy of the whole trail that a test may alter."""
    return Path(shutil.copytree(exports[""], tmp_path / "copy"))


def files(folder):
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if path.relative_to(folder).parts[0] in CHECKED_PARTS]


def entries_file(folder):
    (found,) = (folder / "entries").iterdir()
    return found


def lines_of(folder):
    return entries_file(folder).read_bytes().splitlines(keepends=True)


def first_of(folder):
    return json.loads((folder / "records.json").read_bytes())["first"]


def write_lines(folder, lines, first=0):
    """Write the entries file anew, under the name that fits its length."""
    entries_file(folder).unlink()
    (folder / "entries" / f"{first:012d}-{first + len(lines):012d}.jsonl").write_bytes(b"".join(lines))


def chained(bodies, before=chain.START):
    """Return lines that chain and the tree over them."""
    lines, tree = [], chain.Frontier()
    for body in bodies:
        hashed = chain.leaf(body)
        before = chain.link(before, hashed)
        tree.append(hashed)
        lines.append(b"%s %s\n" % (before.hex().encode(), body))
    return lines, tree


def bodies_of(folder):
    return [line[BODY:-1] for line in lines_of(folder)]


def named_in(said, path, offset, folder, data):
    """True where `said` names the flipped byte's file or record, or one before it."""
    where = path.relative_to(folder).as_posix()
    first = first_of(folder) if path.name != "records.json" else None
    if where.startswith("entries"):
        before = data[:offset]
        number = first + before.count(b"\n")
        return f"entry {number} " in said or f"entry {number}:" in said
    return where in said or (path.name == "records.json" and ("entry" in said or "entries" in said))


def flip(path, offset, bit):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("batch", ["", "B-1", "B-2"])
def test_an_export_holds(exports, batch):
    assert complaint(exports[batch]) == ""


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.70", "ALCOA+ accurate", "IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize("batch", ["", "B-1", "B-2"])
def test_a_flipped_bit_anywhere_is_named(exports, batch):
    print(f"seed {SEED}")
    dice = random.Random(SEED + len(batch))
    folder = exports[batch]
    choices = [path for path in files(folder)]
    for round_ in range(300):
        path = choices[round_ % len(choices)] if round_ % 2 else entries_file(folder)
        data = path.read_bytes()
        offset, bit = dice.randrange(len(data)), dice.randrange(8)
        flip(path, offset, bit)
        said = complaint(folder)
        path.write_bytes(data)
        assert said, f"{path} byte {offset} bit {bit}"
        assert named_in(said, path, offset, folder, data), f"{path} byte {offset} bit {bit}: {said}"
    assert complaint(folder) == ""


@pytest.mark.clause("21 CFR 11.10(a)")
@pytest.mark.parametrize("batch", ["B-2"])
def test_every_byte_of_the_small_files_bears(exports, batch):
    folder = exports[batch]
    image = next((folder / "images").rglob("*.pgm"))
    notes = sorted((folder / "checkpoints").iterdir())
    for path in (folder / "records.json", notes[-1], image, *(folder / "documents").iterdir()):
        data = path.read_bytes()
        for offset in range(len(data)):
            flip(path, offset, offset % 8)
            said = complaint(folder)
            path.write_bytes(data)
            assert said and named_in(said, path, offset, folder, data), f"{path} byte {offset}: {said}"


def test_every_byte_of_the_public_key_bears(exports):
    path = exports["B-1"] / "keys" / key_name(KEY)
    data = path.read_bytes()
    for offset in range(len(data)):
        flip(path, offset, offset % 7)
        said = complaint(exports["B-1"])
        path.write_bytes(data)
        assert f"keys/{key_name(KEY)}" in said, f"byte {offset}: {said}"


@pytest.mark.clause("21 CFR 11.10(a)")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_replaces_a_stretch_of_a_file_is_named(exports, data):
    folder = exports[data.draw(st.sampled_from(["", "B-1", "B-2"]))]
    path = data.draw(st.sampled_from(files(folder)))
    before = path.read_bytes()
    begin = data.draw(st.integers(0, len(before)))
    end = data.draw(st.integers(begin, min(len(before), begin + 300)))
    after = before[:begin] + data.draw(st.binary(max_size=80)) + before[end:]
    path.write_bytes(after)
    said = complaint(folder)
    path.write_bytes(before)
    assert bool(said) == (after != before)


@pytest.mark.clause("21 CFR 11.10(a)")
def test_an_altered_text_is_named_by_entry_unit_and_time(folder):
    lines = lines_of(folder)
    number = next(n for n, line in enumerate(lines) if b'"type":"unit_row"' in line and b'"outcome":"rejected"' in line)
    lines[number] = lines[number].replace(b'"outcome":"rejected"', b'"outcome":"accepted"')
    write_lines(folder, lines)
    said = complaint(folder)
    assert said.startswith(f"entry {number} (unit_row 1.0.7 B-1, recorded 2026-11-18T11:06:57.000Z")
    assert said.endswith("): its text is not what was chained")


def test_two_swapped_lines_are_named(folder):
    lines = lines_of(folder)
    lines[20], lines[40] = lines[40], lines[20]
    write_lines(folder, lines)
    assert complaint(folder).startswith("entry 20 (")
    assert "it is entry 40" in complaint(folder)


@pytest.mark.clause("21 CFR 11.10(a)", "ALCOA+ complete")
def test_a_deleted_line_is_named(folder):
    lines = lines_of(folder)
    write_lines(folder, lines[:30] + lines[31:])
    assert complaint(folder).startswith("entry 30 (")
    assert "it is entry 31" in complaint(folder)


@pytest.mark.clause("21 CFR 11.10(a)", "ALCOA+ complete")
def test_a_trail_cut_off_at_any_entry_is_named(folder):
    path, lines = entries_file(folder), lines_of(folder)
    for end in range(1, len(lines), 7):
        path.write_bytes(b"".join(lines[:end]))
        assert f"ends before entry {end}, which is missing" in complaint(folder)
        write_lines(folder, lines[:end])
        assert complaint(folder).startswith(f"entries {end} to {len(lines) - 1} are missing")
        entries_file(folder).rename(path)


def test_the_last_line_ends_with_a_line_feed(folder):
    path = entries_file(folder)
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    assert complaint(folder).startswith(f"entry {len(lines_of(folder)) - 1} (")


def test_a_dropped_newest_checkpoint_is_named(folder):
    notes = sorted((folder / "checkpoints").iterdir())
    end = len(lines_of(folder))
    notes[-1].unlink()
    assert complaint(folder) == f"entries {int(notes[-2].stem)} to {end - 1} are covered by no checkpoint here"


def test_without_any_checkpoint_nothing_holds(folder):
    shutil.rmtree(folder / "checkpoints")
    assert "covered by no checkpoint" in complaint(folder)


def test_a_trail_chained_again_is_named_between_two_checkpoints(folder):
    sizes = sorted(int(path.stem) for path in (folder / "checkpoints").iterdir())
    bodies = bodies_of(folder)
    number = sizes[3] + 2
    bodies[number] = altered(bodies[number])
    write_lines(folder, chained(bodies)[0])
    assert complaint(folder).startswith(
        f"between checkpoints over {sizes[3]} and {sizes[4]} entries: the chain is whole"
    )


def test_a_trail_that_does_not_begin_with_nothing_is_named(folder):
    raw = (folder / "records.json").read_bytes().replace(b"0" * 64, b"7" * 64)
    (folder / "records.json").write_bytes(raw)
    write_lines(folder, chained(bodies_of(folder), bytes.fromhex("7" * 64))[0])
    assert complaint(folder) == "records.json: the chain before entry 0 is not zero"


def test_a_signature_written_in_another_form_is_named(folder):
    path = max((folder / "checkpoints").iterdir())
    text, root = path.read_text(), path.read_text().split("\n")[2]
    while not text.endswith("=\n"):
        text = note(int(path.stem), base64.b64decode(root))
    end = len(text.rstrip("=\n")) - 1
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    odd = text[:end] + letters[letters.index(text[end]) + 1] + text[end + 1 :]
    path.write_text(text)
    assert complaint(folder) == ""
    path.write_text(odd)
    assert complaint(folder) == f"checkpoints/{path.name}: its signature does not hold"


def test_files_of_entries_follow_each_other_and_hold_what_their_name_says(folder):
    lines, path = lines_of(folder), entries_file(folder)
    write_lines(folder, lines[:30])
    (folder / "entries" / f"{30:012d}-{len(lines):012d}.jsonl").write_bytes(b"".join(lines[30:]))
    assert complaint(folder) == ""
    first, second = sorted((folder / "entries").iterdir())
    first.rename(path.with_name(f"{1:012d}-{30:012d}.jsonl"))
    assert complaint(folder) == f"entries/{1:012d}-{30:012d}.jsonl: entry 0 should come next"
    path.with_name(f"{1:012d}-{30:012d}.jsonl").unlink()
    assert complaint(folder) == f"entries/{second.name}: entry 0 should come next"
    second.unlink()
    path.write_bytes(b"".join([*lines, lines[-1]]))
    assert complaint(folder) == f"entries/{path.name}: goes on behind entry {len(lines) - 1}"


def altered(body):
    """Return a body with another time."""
    digit = body.index(b'"at":') + 22
    return body[:digit] + (b"7" if body[digit : digit + 1] != b"7" else b"8") + body[digit + 1 :]


def test_an_entry_that_was_signed_under_another_number_is_named(folder):
    bodies = bodies_of(folder)
    bodies[9] = bodies[9].replace(b'"entry":9,', b'"entry":8,')
    lines, tree = chained(bodies)
    write_lines(folder, lines)
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / f"{tree.size:012d}.note").write_text(note(tree.size, tree.root()))
    said = complaint(folder)
    assert said.startswith("entry 9 (") and said.endswith("says of itself that it is entry 8")


def forge(folder, key, last=None):
    """Alter one entry, chain everything again and sign it all with `key`."""
    bodies = bodies_of(folder)[:last]
    bodies[5] = altered(bodies[5])
    lines, tree = chained(bodies)
    write_lines(folder, lines)
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / f"{tree.size:012d}.note").write_text(note(tree.size, tree.root(), key))
    (folder / "keys" / key_name(key)).write_bytes(pem(key))


@pytest.mark.clause("21 CFR 11.70", "21 CFR 11.30")
def test_a_trail_signed_with_another_key_holds_only_by_that_key(folder, tmp_path):
    known = tmp_path / "known.pem"
    known.write_bytes(pem(KEY))
    assert complaint(folder, keys=[known]) == ""
    forge(folder, OTHER_KEY)
    for name in ("images", "documents"):
        shutil.rmtree(folder / name)
    raw = json.loads((folder / "records.json").read_bytes()) | {"images": False, "documents": False}
    (folder / "records.json").write_text(json.dumps(raw, separators=(",", ":")))
    assert complaint(folder) == ""
    ident = chain.key_id(der(OTHER_KEY)).hex()
    assert f"signed by key {ident}, which is not one of those that count" in complaint(folder, keys=[known])


def test_a_foreign_key_under_the_known_name_is_named(folder):
    (folder / "keys" / key_name(KEY)).write_bytes(pem(OTHER_KEY))
    assert complaint(folder).startswith(f"keys/{key_name(KEY)}: ")


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.9")
def test_a_forked_trail_is_named_by_an_older_witness(folder, tmp_path):
    sizes = sorted((folder / "checkpoints").iterdir())
    witness = Path(shutil.copy(sizes[4], tmp_path / "witness.note"))
    assert complaint(folder, witnesses=[witness]) == ""
    forge(folder, KEY)
    assert complaint(folder) == ""
    said = complaint(folder, witnesses=[witness])
    assert said.startswith(f"between checkpoints over 0 and {int(sizes[4].stem)} entries") and str(witness) in said


def test_a_trail_shorter_than_a_witness_is_named(folder, tmp_path):
    sizes = sorted((folder / "checkpoints").iterdir())
    witness = Path(shutil.copy(sizes[-1], tmp_path / "witness.note"))
    end = int(sizes[-3].stem)
    forge(folder, KEY, last=end)
    assert complaint(folder, witnesses=[witness]).startswith(
        f"entries {end} to {int(witness.read_text().split()[1]) - 1}"
    )


def test_a_witness_over_less_than_a_part_begins_with_says_so(exports, tmp_path):
    witness = tmp_path / "witness.note"
    witness.write_text(note(1, bytes(32)))
    assert "those here begin with" in complaint(exports["B-2"], witnesses=[witness])


@pytest.mark.clause("21 CFR 11.70", "21 CFR 11.10(h)")
def test_a_checkpoint_of_another_device_is_named(folder):
    path = max((folder / "checkpoints").iterdir())
    path.write_text(path.read_text().replace(ORIGIN, chain.origin("box", 2)))
    assert f"checkpoints/{path.name}: is of linewarden/box/00000002" in complaint(folder)


def test_an_image_that_is_missing_or_nobodys_is_named(folder):
    image = next((folder / "images").rglob("*.pgm"))
    data = image.read_bytes()
    image.unlink()
    assert image.stem in complaint(folder) and "is missing" in complaint(folder)
    image.write_bytes(data)
    other = image.with_name(image.stem[:-1] + ("0" if image.stem[-1] != "0" else "1") + ".pgm")
    other.write_bytes(data)
    assert f"{other.name}: no entry names this image" in complaint(folder)


def test_a_pinned_document_that_is_missing_is_named(folder):
    path = min((folder / "documents").iterdir())
    path.unlink()
    said = complaint(folder)
    assert said.startswith("entry ") and path.name in said


@pytest.mark.parametrize("name", ["x.txt", "entries/x", "images/ab/x.pgm", "keys/key.pem", "notes/a", "records.json~"])
def test_what_does_not_belong_there_is_named(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    assert complaint(folder) == f"{name}: does not belong here"


def test_links_and_pipes_are_foreign(folder, tmp_path):
    path = entries_file(folder)
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    assert complaint(folder)
    path.unlink()
    (tmp_path / path.name).rename(path)
    os.mkfifo(folder / "documents" / ("a" * 64))
    assert complaint(folder) == f"documents/{'a' * 64}: does not belong here"
