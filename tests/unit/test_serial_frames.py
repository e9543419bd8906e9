"""Frames of the serial reject board: the bytes of the vectors, round trips, noise; Python codec and C core alike."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import serial_frames
from drivers.gate.plc_io import Compare, Fired, Inputs, Latch, Place, PlcSpec
from drivers.serial_frames import (
    Beat,
    BoardEvent,
    Decoder,
    Frame,
    Permit,
    Ping,
    Revoke,
    Ring,
    Said,
    Sort,
    Status,
    Totals,
    decode,
    encode,
    stuff,
    unstuff,
)
from drivers.sim.board_program import BoardProgram

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "serial-board"


def stored(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


FRAMES = stored("frames.json")["frames"]
NO_FRAMES = stored("no-frames.json")["no_frames"]


def frame_of(vector: dict[str, Any]) -> Frame:
    values = dict(vector["said"])
    if "lanes" in values:
        values["lanes"] = tuple(Totals(**lane) for lane in values["lanes"])
    if "ring" in values:
        values["ring"] = Ring(values["ring"])
    return Frame(getattr(serial_frames, vector["kind"])(**values), vector["sequence"], vector["acknowledge"])


@pytest.mark.parametrize("vector", FRAMES, ids=lambda v: f"{v['kind']}-{v['bytes'][:10]}")
def test_a_frame_is_these_bytes_and_these_bytes_are_that_frame(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    assert encode(frame_of(vector)) == data
    assert decode(data[1:-1]) == frame_of(vector)
    assert data[0] == data[-1] == 0 and 0 not in data[1:-1]


def test_the_vectors_have_every_kind() -> None:
    assert {vector["kind"] for vector in FRAMES} == {kind.__name__ for kind in serial_frames._KINDS}


@pytest.mark.parametrize("vector", NO_FRAMES, ids=lambda v: v["why"])
def test_what_is_no_frame_is_counted_and_what_follows_is_heard(vector: dict[str, Any]) -> None:
    decoder, after = Decoder(), Frame(Ping(7))
    assert list(decoder.feed(bytes.fromhex(vector["bytes"]) + encode(after))) == [after]
    assert decoder.bad >= 1


def spec(document: dict[str, Any]) -> PlcSpec:
    values = dict(document)
    values["stations"] = tuple(Place(*place) for place in values["stations"])
    return PlcSpec(lanes=1, **values)


@pytest.mark.parametrize("vector", NO_FRAMES, ids=lambda v: v["why"])
def test_the_core_takes_none_of_them_and_hears_the_next_frame(vector: dict[str, Any]) -> None:
    board = BoardProgram(spec(stored("talk.json")["config"]))
    board.start(0, retained=False)
    board.receive(bytes.fromhex(vector["bytes"]))
    board.receive(encode(Frame(Ping(7))))
    board.scan(2_000, Inputs())
    (said,) = Decoder().feed(board.transmit(256))
    assert isinstance(said.said, Status)
    assert said.said.stamp == 7 and said.said.bad_frames >= 1 and said.acknowledge == 0


def test_a_whole_talk_with_the_core_is_as_it_was() -> None:
    document = stored("talk.json")
    board = BoardProgram(spec(document["config"]))
    board.start(document["encoder"], retained=False)
    for number, step in enumerate(document["steps"]):
        board.receive(bytes.fromhex(step["device"]))
        out = board.scan(step["now"], inputs(step))
        assert [out.gates[0], out.belt, out.infeed, out.lamps] == step["out"], number
        assert board.transmit(256).hex() == step["board"], number


def inputs(step: dict[str, Any]) -> Inputs:
    latches = {n: [Latch(at, enc, lane) for lane, at, enc in step.get(n, [])] for n in ("infeed", "chute", "passed")}
    fired = [
        Fired(Compare(station, encoder, None, epoch, lane, number, shot), at, enc)
        for station, encoder, epoch, lane, number, shot, at, enc in step.get("fired", [])
    ]
    return Inputs(encoder=step["encoder"], fired=fired, **latches)


U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
U8 = st.integers(0, 0xFF)
TOTALS = st.builds(Totals, U32, U32, U32, U16, U16)
NAMED = (U32, U32, U32, U16, U16, U16, U16)
FIXED = (U32, U16, U16, U32, U32, U32, U16, U32, U32, U32, U32, U16, U16, U32, U16, U16, U16, U32, U32, U32, U16, U16)
SAID: st.SearchStrategy[Said] = st.one_of(
    st.builds(Beat, U32, U16, U16, U32, U32, U16, U16, U16, U16),
    st.builds(Ping, U32, st.booleans()),
    st.builds(Permit, *NAMED),
    st.builds(Sort, *NAMED),
    st.builds(Revoke, U32, U32, U32, U16),
    st.builds(Status, *FIXED, st.lists(TOTALS, max_size=4).map(tuple)),
    st.builds(BoardEvent, st.sampled_from(Ring), U8, U32, U32, U32, U16, U16, U32, U32),
)
ANY_FRAME = st.builds(Frame, SAID, U32, U32)


@given(ANY_FRAME)
def test_every_frame_comes_back_as_it_went(frame: Frame) -> None:
    assert list(Decoder().feed(encode(frame))) == [frame]


@given(st.binary(max_size=250))
def test_stuffing_leaves_no_zero_and_loses_nothing(data: bytes) -> None:
    assert 0 not in stuff(data) and unstuff(stuff(data)) == data


@settings(max_examples=60)
@given(st.lists(ANY_FRAME, min_size=1, max_size=4), st.lists(st.binary(max_size=40), max_size=4), st.data())
def test_in_pieces_and_among_noise_whole_frames_are_heard(
    frames: list[Frame], noise: list[bytes], data: st.DataObject
) -> None:
    """Noise between two delimiters costs nothing but itself."""
    stream = b"".join(piece + encode(frame) for piece, frame in zip([*noise, *[b""] * 4], frames, strict=False))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    decoder, heard = Decoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += list(decoder.feed(stream[start:end]))
    assert heard == frames


@pytest.mark.clause("Annex 11 §5", "IEC 62443-4-2 CR 3.1")
@given(ANY_FRAME, st.data())
def test_one_wrong_byte_makes_no_other_frame(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(encode(frame))
    place = data.draw(st.integers(1, len(wire) - 2))
    wire[place] ^= data.draw(st.integers(1, 255))
    assert list(Decoder().feed(bytes(wire))) == []
