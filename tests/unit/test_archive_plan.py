"""What an archive holds and lacks, without one: cuts, lines, what entries ask for, and the chain on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.records import Kept
from daemon.uplink.archive import (
    SEGMENT,
    ArchiveError,
    Segment,
    Walk,
    Wanted,
    checkpoint_of,
    checkpoint_path,
    cut,
    line,
    parse_line,
    pixels_digest,
    segment_of,
)
from signing.chain import START, Frontier, leaf, link

BODIES = st.lists(st.binary(max_size=40).filter(lambda body: b"\n" not in body), min_size=1, max_size=30)
BATCH = b'{"row":{"type":"batch_opened","seq":1,"id":"B-1",%s"since_epoch":0}}'
EVIDENCE = (
    b'{"at":1,"row":{"bytes":9,"digest":"%s","key":{"camera":"c","frame_id":1,"session":2},"seq":3,"state":"%s",'
    b'"type":"evidence_row","unit":[1,0,7],"view":{"camera":"c","region":0,"shot":0},"why":"w"}}'
)


def _names(body: bytes) -> Wanted:
    wanted = Wanted()
    wanted.read(body)
    return wanted


@given(st.lists(st.integers(1, 3 * SEGMENT), min_size=1, max_size=5), st.data())
def test_passes_cut_off_anywhere_leave_segments_that_the_next_pass_goes_on_with(
    sizes: list[int], data: st.DataObject
) -> None:
    there: list[Segment] = []
    begin, end = 0, 0
    for size in sizes:
        end += size
        planned = cut(begin, end, [segment for segment in there if segment.end > begin])
        assert [segment.first for segment in planned] == [begin, *(segment.end for segment in planned[:-1])]
        assert planned[-1].end == end
        assert set(there) <= set(planned) | {segment for segment in there if segment.end <= begin}
        shipped = data.draw(st.integers(0, len(planned)))
        there = sorted({*there, *planned[:shipped]})
        if shipped == len(planned):
            begin = end
    assert [segment.first for segment in there[1:]] == [segment.end for segment in there[:-1]]


@pytest.mark.parametrize(
    "there",
    [
        [Segment(0, 4), Segment(5, 8)],
        [Segment(1, 4)],
        [Segment(0, 4), Segment(0, 6)],
        [Segment(0, 11)],
        [Segment(0, 0)],
    ],
)
def test_an_archive_that_somebody_else_wrote_is_not_gone_on_with(there: list[Segment]) -> None:
    with pytest.raises(ArchiveError, match="another device or an earlier copy"):
        cut(0, 10, there)


@given(BODIES)
def test_lines_come_back_as_they_were(bodies: list[bytes]) -> None:
    chain = START
    for body in bodies:
        chain = link(chain, leaf(body))
        assert parse_line(line(body, chain)) == (body, chain)


@pytest.mark.parametrize(
    "written", [b"", b"\n", b"0" * 64 + b"\n", b"0" * 64 + b" {}", b"x" * 64 + b" {}\n", "é".encode() * 40]
)
def test_a_line_of_another_form_is_refused(written: bytes) -> None:
    with pytest.raises(ArchiveError, match="not a line of records"):
        parse_line(written)


@given(BODIES, st.data())
def test_an_entry_that_was_altered_is_named(bodies: list[bytes], data: st.DataObject) -> None:
    walk, frontier, chain, chains = Walk(), Frontier(), START, []
    for body in bodies:
        frontier.append(leaf(body))
        chain = link(chain, leaf(body))
        chains.append(chain)
    for seq, body in enumerate(bodies):
        walk.take(seq, body, chains[seq])
    assert (walk.chain, walk.frontier.root()) == (chain, frontier.root())
    bad = data.draw(st.integers(0, len(bodies) - 1))
    walk = Walk()
    with pytest.raises(ArchiveError, match=f"entry {bad} was altered"):
        for seq, body in enumerate(bodies):
            walk.take(seq, body + (b"!" if seq == bad else b""), chains[seq])


def test_a_missing_entry_is_named() -> None:
    with pytest.raises(ArchiveError, match="entry 0 is missing, 1 follows"):
        Walk().take(1, b"{}", START)


def test_names_tell_what_a_file_holds() -> None:
    assert segment_of(Segment(4096, 5000).path) == Segment(4096, 5000)
    assert checkpoint_of(checkpoint_path(5000)) == 5000
    assert segment_of("entries/1-2.jsonl") is segment_of("entries/../../etc/passwd") is None
    assert checkpoint_of("checkpoints/12.note") is None


def test_the_last_word_on_an_image_counts() -> None:
    wanted, first, second = Wanted(), b"a" * 64, b"b" * 64
    for digest, state in ((first, b"retained"), (second, b"retained"), (first, b"dropped"), (second, b"released")):
        wanted.read(EVIDENCE % (digest, state))
    assert wanted.images == {"a" * 64: Kept.DROPPED, "b" * 64: Kept.RELEASED}
    assert wanted.kept == ["b" * 64]


def test_a_batch_asks_for_its_documents() -> None:
    fields = ("station", "bundle", "recipe", "bundle_name", "recipe_name", "register_map")
    others = ("release", "configuration", "actor", "role", "reason")
    words = b"".join(b'"%s":"%s-1",' % (name.encode(), name.encode()) for name in fields + others)
    documents = _names(BATCH % words).documents
    assert documents == dict.fromkeys(("station-1", "bundle-1", "recipe-1", "register_map-1"), "B-1")


def test_an_image_that_this_release_cannot_read_stops_the_pass() -> None:
    with pytest.raises(ArchiveError, match="cannot be read"):
        _names(b'{"row":{"type":"evidence_row","digest":7}}')


def test_words_inside_of_a_text_are_no_evidence() -> None:
    body = rb'{"row":{"text":"\"type\":\"evidence_row\"","type":"alarm_row"}}'
    assert _names(body) == Wanted()


def test_the_pixels_alone_are_an_images_name() -> None:
    assert pixels_digest(b"P5\n2 1\n255\nab") == pixels_digest(b"P5\n1 2\n255\nab") is not None
    assert pixels_digest(b"GIF89a") is None


def test_what_a_swap_brings_is_wanted_too() -> None:
    digests = [f"{number:064x}" for number in (1, 2)]
    row = b'{"row":{"type":"sublot_opened","batch":"B-1","bundle":"%s","recipe":"%s","seq":0}}'
    assert _names(row % tuple(text.encode() for text in digests)).documents == dict.fromkeys(digests, "B-1")
    with pytest.raises(ArchiveError, match="an entry cannot be read"):
        _names(b'{"row":{"type":"sublot_opened","batch":"B-1"}}')
