"""The gate as Structured Text: it does what drivers/gate does, on stored tapes and on anything at all."""

from pathlib import Path

import pytest
from blark.parse import parse_source_code
from st_evaluator import Library, StError
from st_gate import LANES, ORDER, StGate, library

from drivers.gate import plc_logic, plc_permits
from drivers.gate.plc_io import Key
from drivers.registers import CHANNEL_MARK, CHANNEL_SHIFT, permit_check
from tests.vectors.gate_line import SPEC, Line
from tests.vectors.gate_scenarios import SCENARIOS
from tests.vectors.gate_shuffle import shuffled
from tests.vectors.gate_tape import MAP, Reference, Step, mismatch
from tests.vectors.gate_vectors import FOLDER, record, stored, text

SHUFFLED_STEPS = 700


@pytest.fixture(scope="module")
def code(request: pytest.FixtureRequest) -> Library:
    assert request.config.cache is not None
    return library(Path(request.config.cache.mkdir("structured-text")))


def test_every_scenario_has_its_tape() -> None:
    assert {scenario.__name__ for scenario in SCENARIOS} == {path.stem for path in FOLDER.glob("*.json")}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_tapes_are_what_the_python_program_does(scenario: object) -> None:
    """After a change of drivers/gate: `python -m tests.vectors.gate_vectors`, then bring drivers/plc to the same."""
    name = scenario.__name__  # type: ignore[attr-defined]  # a function
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text(record(scenario))  # type: ignore[arg-type]


def test_the_python_program_plays_the_stored_tapes() -> None:
    assert {name: mismatch(Reference(spec), steps) for name, spec, steps in stored()} == {
        scenario.__name__: "" for scenario in SCENARIOS
    }


@pytest.mark.parametrize("retentive", [False, True], ids=["warm start", "everything retentive"])
def test_the_structured_text_plays_the_stored_tapes(code: Library, retentive: bool) -> None:
    played = {name: mismatch(StGate(code, spec, retentive=retentive), steps) for name, spec, steps in stored()}
    assert played == {scenario.__name__: "" for scenario in SCENARIOS}


def test_the_structured_text_does_what_the_python_program_does(code: Library, seed: int) -> None:
    for turn in range(3):
        line = shuffled(seed + turn, SHUFFLED_STEPS)
        assert mismatch(StGate(code, line.spec), line.tape.steps) == ""


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        ("accept", 1),
        ("no_permit", 0),
        ("stale_heartbeat", 0),
        ("torn_write", 0),
        ("torn_then_whole", 1),
        ("old_epoch", 0),
    ],
)
def test_what_the_tapes_say_is_what_their_names_say(name: str, passed: int) -> None:
    """A tape that nobody looks at proves nothing."""
    (steps,) = (steps for found, _, steps in stored() if found == name)
    opened = [a["out"]["gates"][0] for a in steps if "out" in a]
    assert sum(new and not old for old, new in zip(opened, opened[1:], strict=False)) == passed


def test_check_words(code: Library) -> None:
    check = code.function("LW_PermitCheck")
    for number, epoch, lane, slot, device in ((1, 2, 0, 1, 1001), (0xFFFFFFFF, 0xFFFF0000, 3, 63, 0xDEADBEEF)):
        assert check(number=number, epoch=epoch, lane=lane, slot=slot, device=device) == permit_check(
            number, epoch, lane, slot, device
        )


def test_constants_are_those_of_the_program(code: Library) -> None:
    constants = {name: value for name, (_, value) in code.constants.items()}
    assert constants["lw_heartbeat_us"] == plc_logic.HEARTBEAT_US
    assert constants["lw_heartbeat_timeout_us"] == plc_permits.HEARTBEAT_TIMEOUT_US
    assert constants["lw_mode_automatic"] == plc_permits.AUTOMATIC
    assert (constants["lw_sync_shots"], constants["lw_sync_gap_us"]) == (plc_logic.SYNC_SHOTS, plc_logic.SYNC_GAP_US)
    assert {key.name: constants[f"lw_key_{key.name.lower()}"] for key in Key} == {key.name: key.value for key in Key}
    assert (constants["lw_channel_mark"], constants["lw_channel_in_flags"]) == (CHANNEL_MARK, 1 << CHANNEL_SHIFT)
    assert constants["lw_last"] == MAP.size - 1 and constants["lw_lanes_last"] == LANES - 1
    assert constants["lw_max_units"] <= MAP.permit.length
    assert constants["lw_unit_length"] & (constants["lw_unit_length"] - 1) == 0, "sequence numbers wrap at 2**32"


def test_more_bodies_than_it_can_follow_stop_the_belt(code: Library) -> None:
    """The Python program follows any number; a PLC has its memory."""
    line = Line().agree()
    line.pace = 1
    gate = StGate(code, SPEC)
    assert mismatch(gate, line.tape.steps) == ""
    done = len(line.tape.steps)
    for _ in range(65):
        line.body()
        line.scan()
    for step in line.tape.steps[done:]:
        out = gate.play(step)
    assert out["belt"] == [False, False] and gate.gate.aborted and gate.gate.lanes[0].inflight == 64


def test_the_example_program_runs(code: Library) -> None:
    program = code.block("PRG_LinewardenExample")
    program.run()
    assert program.reg[MAP.registers["map_version"].offset] == 1 and not program.first
    program.run()
    assert (program.gatevalve, program.beltrun, program.infeedrelease) == (False, False, False)
    assert program.reg[MAP.registers["plc_heartbeat"].offset] == 1


def _library(body: str) -> Library:
    source = f"FUNCTION F : UDINT\nVAR_INPUT\n    A : UDINT;\n    B : UINT;\nEND_VAR\n{body}\nEND_FUNCTION\n"
    return Library([parse_source_code(source).transform()])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("F := A + B;", "do not mix"),
        ("A := 1;", "must not be written"),
        ("F := C;", "is not declared"),
        ("F := B;", "UDINT is needed"),
        ("F := A AND A;", "AND of UDINT"),
        ("F := G(A := A);", "g"),
    ],
)
def test_the_evaluator_refuses_what_is_not_portable(body: str, says: str) -> None:
    with pytest.raises((StError, KeyError), match=says):
        _library(body)


def test_the_evaluator_lets_a_udint_wrap_only_where_it_is_assigned() -> None:
    assert _library("F := A - 7;").function("F")(a=5, b=0) == 0xFFFFFFFE
    with pytest.raises(StError, match="leaves 0"):
        _library("IF A - 7 > 3 THEN F := 1; END_IF;").function("F")(a=5, b=0)
    with pytest.raises(StError, match="leaves 0"):
        _library("F := UINT_TO_UDINT(B + 1);").function("F")(a=5, b=0xFFFF)


def test_all_sources_are_parsed() -> None:
    folder = FOLDER.parents[2] / "drivers" / "plc"
    assert {path.stem for path in folder.glob("*.st")} == set(ORDER)


def test_a_difference_is_found(code: Library) -> None:
    """The comparison itself: one wrong register, one wrong output."""
    steps: list[Step] = record(SCENARIOS[0]).tape.steps
    last = max(number for number, step in enumerate(steps) if "out" in step)
    steps[last] |= {"set": [*steps[last]["set"], [13, 9]]}
    assert "register 13 is 0, 9 is right" in mismatch(StGate(code, SPEC), steps)
