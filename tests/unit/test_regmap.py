"""`linewarden map`, the tag files, and what drivers/plc derives from the map and from its own sources."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from daemon.config import WordOrder
from drivers.registers import load_map
from provisioning import cli, regmap
from provisioning.regmap import Format
from scripts.plc_export import BLOCKS, FOLDER, NAMESPACE, SOURCES, XHTML, ExportError, generated, pieces

MAP = load_map()
HIGH, LOW = WordOrder.HIGH_FIRST, WordOrder.LOW_FIRST


@pytest.mark.parametrize("name", ["LW_Map.st", "Linewarden.xml"])
def test_what_is_generated_is_checked_in(name: str) -> None:
    """After a change of the map or of a source in drivers/plc: `python -m scripts.plc_export`."""
    assert (FOLDER / name).read_text(encoding="utf-8") == generated()[name]


def _exported(kind: Format, order: WordOrder = HIGH, *, every: bool = False, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(regmap.export(kind, order, every=every)), delimiter=delimiter))


def test_every_register_has_a_row_with_both_numbers() -> None:
    header, *lines = _exported(Format.CSV)
    found = {line[header.index("name")]: line for line in lines}
    assert set(MAP.registers) <= set(found)
    assert found["plc_state"][:2] == ["1", "40002"] and found["edge.seq"][:2] == ["10000", "410001"]
    for name in ("lane.created_seq", "permit.check", "closed.cause", "edge.shot"):
        block = getattr(MAP, name.split(".")[0])
        assert int(found[name][0]) == block.base + block.fields[name.split(".")[1]].offset
    assert found["permit.id"][header.index("repeats")] == "4x every 2000, 64x every 4"


def test_all_expands_each_entry_at_its_address() -> None:
    header, *lines = _exported(Format.CSV, every=True)
    found = {line[header.index("name")]: int(line[0]) for line in lines}
    assert found["permit[3][63].check"] == MAP.permit.at(3, 63) + 3
    assert found["closed[1][127].flags"] == MAP.closed.at(1, 127) + 6
    assert found["lane[2].passed"] == MAP.lane.at(2) + MAP.lane.fields["passed"].offset
    offsets = [int(line[0]) for line in lines]
    assert offsets == sorted(set(offsets)) and max(offsets) < MAP.size


def test_no_two_registers_overlap() -> None:
    taken: set[int] = set()
    for row in regmap.rows(every=True):
        words = set(range(row.offset, row.last + 1))
        assert not words & taken, row
        taken |= words


def test_the_json_export_says_everything() -> None:
    document = json.loads(regmap.export(Format.JSON, LOW, every=False))
    assert document["digest"] == MAP.digest and document["size"] == MAP.size
    assert document["word_order"] == "low-first"
    assert document["cause"] == MAP.causes and document["flag"] == MAP.flags and document["channel"] == MAP.channels
    permit = next(entry for entry in document["registers"] if entry["name"] == "permit.id")
    assert permit["repeats"] == [{"times": 4, "stride": 2000}, {"times": 64, "stride": 4}]


@pytest.mark.parametrize(("order", "high"), [(HIGH, 2), (LOW, 3)])
def test_tag_files_name_single_registers_in_the_word_order(order: WordOrder, high: int) -> None:
    codesys = regmap.export(Format.CODESYS, order, every=False)
    assert f"    LW_plc_identity_hi AT %MW{high} : UINT; (* identity of the PLC, never 0 *)\n" in codesys
    tia = {line[0]: line[2] for line in _exported(Format.TIA, order, delimiter=";")[1:]}
    assert tia["LW_plc_identity_hi"] == f"%DB100.DBW{2 * high}" and tia["LW_lane_3_passed_hi"]
    rockwell = {line[2]: line[5] for line in _exported(Format.ROCKWELL, order)[3:]}
    assert rockwell["LW_plc_identity_hi"] == f"LW_Reg[{high}]"


@pytest.mark.parametrize("kind", [Format.CODESYS, Format.TIA, Format.ROCKWELL, Format.ST])
def test_symbols_are_plain_and_unique_whatever_their_case(kind: Format) -> None:
    symbols = re.findall(r"\bLW_\w+(?=[,; ](?: ?:|AT|Word|.*LW_Reg\[))", regmap.export(kind, HIGH, every=False))
    assert len(symbols) > 100
    assert len({symbol.lower() for symbol in symbols}) == len(symbols)


def test_the_table_shows_addresses_strides_and_meanings() -> None:
    screen = io.StringIO()
    regmap.show(Console(file=screen, width=160), LOW, every=False)
    text = screen.getvalue()
    assert "low word first" in text and "see [[cause]]" in text
    assert re.search(r"1000 +41001 +u32 +device +permit.id +4x every 2000, 64x every 4: unit number", text)
    assert "9 too_close" in text and "1 run, 2 hold, 4 abort" in text


def test_the_command_prints_and_writes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["map"]) == 0
    assert "map_version" in capsys.readouterr().out
    assert cli.main(["map", "--format", "csv", "--all", "--word-order", "low-first"]) == 0
    assert "permit[0][0].id" in capsys.readouterr().out
    for kind in Format:
        path = tmp_path / kind.value
        assert cli.main(["map", "--format", kind.value, "-o", str(path)]) == 0
        assert "map_version" in path.read_text().lower()
    assert cli.main(["map", "-o", str(tmp_path / "no" / "where")]) == cli.FAILED
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and "cannot be written" in errors[0]


def _project() -> ET.Element:
    return ET.parse(FOLDER / "Linewarden.xml").getroot()


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def test_the_project_is_of_plcopen_tc6_2_01() -> None:
    project = _project()
    assert project.tag == _tag("project")
    children = [child.tag for child in project]
    assert children == [_tag(name) for name in ("fileHeader", "contentHeader", "types", "instances")]
    header = project.find(_tag("fileHeader"))
    assert header is not None
    assert {"companyName", "productName", "productVersion", "creationDateTime"} <= set(header.attrib)


def test_the_project_holds_every_unit_with_its_body() -> None:
    source = {name: (FOLDER / f"{name}.st").read_text(encoding="utf-8") for name in (*SOURCES, *BLOCKS)}
    units = {pou.get("name"): pou for pou in _project().iter(_tag("pou"))}
    expected = {
        name
        for text in source.values()
        for name in re.findall(r"^(?:FUNCTION|FUNCTION_BLOCK|PROGRAM) (\w+)", text, re.M)
    }
    assert set(units) == expected
    for name in BLOCKS:
        body = units[name].find(f"{_tag('body')}/{_tag('ST')}/{{{XHTML}}}xhtml")
        assert body is not None and body.text and body.text in source[name]
        assert source[name].count("END_VAR") == len(list(_interface(units[name])))
    retained = [v.get("name") for v in units["FB_LinewardenLane"].findall(f".//{_tag('localVars')}[@retain='true']/*")]
    assert retained == ["LastNumber", "Units", "Count", "Past"]


def _interface(unit: ET.Element) -> list[ET.Element]:
    interface = unit.find(_tag("interface"))
    assert interface is not None
    return [child for child in interface if child.tag != _tag("returnType")]


def test_every_type_that_the_project_names_is_in_it() -> None:
    project = _project()
    known = {entry.get("name") for kind in ("dataType", "pou") for entry in project.iter(_tag(kind))}
    assert {entry.get("name") for entry in project.iter(_tag("derived"))} <= known
    constants = {v.get("name") for v in project.findall(f".//{_tag('globalVars')}/{_tag('variable')}")}
    bounds = {d.get(end) or "" for d in project.iter(_tag("dimension")) for end in ("lower", "upper")}
    assert {bound for bound in bounds if not bound.isdecimal()} <= constants


def test_the_exporter_refuses_what_it_does_not_understand() -> None:
    with pytest.raises(ExportError, match="not a declaration on one line"):
        list(pieces("FUNCTION F : UINT\nVAR\n    A, B\n    : UINT;\nEND_VAR\nF := A;\nEND_FUNCTION\n"))
    with pytest.raises(ExportError, match="END_FUNCTION is missing"):
        list(pieces("FUNCTION F : UINT\nF := 1;\n"))
