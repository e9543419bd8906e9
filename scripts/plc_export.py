"""`python -m scripts.plc_export`: writes what drivers/plc derives from other files.

LW_Map.st comes from the register map, Linewarden.xml (PLCopen TC6 2.01) from all .st files there. The sources keep to
one declaration a line, `Name : TYPE := value; (* comment *)`, which is all that this reader understands.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from daemon.config import WordOrder
from provisioning.regmap import Format, export

FOLDER = Path(__file__).resolve().parents[1] / "drivers" / "plc"
SOURCES = ("LW_Map", "LW_Constants", "LW_Types", "LW_Functions")
BLOCKS = ("FB_LinewardenDevice", "FB_LinewardenLane", "FB_LinewardenGate", "PRG_LinewardenExample")
NAMESPACE, XHTML = "http://www.plcopen.org/xml/tc6_0201", "http://www.w3.org/1999/xhtml"
ELEMENTARY = {"BOOL", "UINT", "UDINT", "WORD"}
SECTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "VAR_INPUT": ("inputVars", {}),
    "VAR_OUTPUT": ("outputVars", {}),
    "VAR_IN_OUT": ("inOutVars", {}),
    "VAR": ("localVars", {}),
    "VAR RETAIN": ("localVars", {"retain": "true"}),
    "VAR_GLOBAL CONSTANT": ("globalVars", {"constant": "true"}),
}
KINDS = {"FUNCTION_BLOCK": "functionBlock", "FUNCTION": "function", "PROGRAM": "program"}
DECLARATION = re.compile(r"\s+(\w+) : (.+?)(?: := (.+?))?;(?: \(\* (.*) \*\))?$")
ARRAY = re.compile(r"ARRAY\[(\w+)\.\.(\w+)\] OF (\w+)$")
HEADER = re.compile(r"(FUNCTION_BLOCK|FUNCTION|PROGRAM) (\w+)(?: : (\w+))?$")
CREATED = "2026-01-01T00:00:00"


class ExportError(Exception):
    """A source file is written in a way this reader does not know."""


@dataclass
class Declared:
    """One declaration."""

    name: str
    type: str
    initial: str
    comment: str


@dataclass
class Piece:
    """A structure, a list of constants or a program unit. `sections` holds (keyword, declarations)."""

    kind: str
    name: str
    result: str = ""
    sections: list[tuple[str, list[Declared]]] = field(default_factory=list)
    body: str = ""
    comment: str = ""


def pieces(source: str) -> Iterator[Piece]:
    """Yield what a source file declares."""
    lines = iter(source.splitlines())
    comment: list[str] = []
    for line in lines:
        header = HEADER.match(line)
        if header:
            kind, name, result = header.groups()
            yield _unit(lines, Piece(kind, name, result or "", comment=" ".join(comment)))
        elif line.startswith("TYPE "):
            next(lines)
            declared = _declarations(lines, "END_STRUCT")
            yield Piece("TYPE", line.split()[1], sections=[("STRUCT", declared)])
        elif line in SECTIONS:
            yield Piece("GLOBAL", "", sections=[(line, _declarations(lines, "END_VAR"))])
        elif line.startswith(("(*", "   ")):
            comment.append(line.strip(" (*)"))


def _unit(lines: Iterator[str], piece: Piece) -> Piece:
    body: list[str] = []
    for line in lines:
        if line == f"END_{piece.kind}":
            piece.body = "\n".join(body)
            return piece
        if line in SECTIONS and not body:
            piece.sections.append((line, _declarations(lines, "END_VAR")))
        else:
            body.append(line)
    raise ExportError(f"{piece.name}: END_{piece.kind} is missing")


def _declarations(lines: Iterator[str], end: str) -> list[Declared]:
    found: list[Declared] = []
    for line in lines:
        if line == end:
            return found
        match = DECLARATION.match(line)
        if not match:
            raise ExportError(f"not a declaration on one line: {line!r}")
        name, kind, initial, comment = match.groups()
        found.append(Declared(name, kind, initial or "", comment or ""))
    raise ExportError(f"{end} is missing")


def document(found: list[Piece]) -> str:
    """Return the PLCopen project of these pieces."""
    ET.register_namespace("", NAMESPACE)
    ET.register_namespace("xhtml", XHTML)
    project = ET.Element(_tag("project"))
    header = {"companyName": "Linewarden", "productName": "Linewarden", "productVersion": "1"}
    _add(project, "fileHeader", **header, creationDateTime=CREATED)
    info = _add(_add(project, "contentHeader", name="Linewarden gate"), "coordinateInfo")
    for language in ("fbd", "ld", "sfc"):
        _add(_add(info, language), "scaling", x="1", y="1")
    types = _add(project, "types")
    structures, units = _add(types, "dataTypes"), _add(types, "pous")
    for piece in found:
        if piece.kind == "TYPE":
            _structure(structures, piece)
        elif piece.kind in KINDS:
            _pou(units, piece)
    configurations = _add(_add(project, "instances"), "configurations")
    configuration = _add(configurations, "configuration", name="Linewarden")
    for piece in found:
        if piece.kind == "GLOBAL":
            _section(configuration, *piece.sections[0])
    ET.indent(project, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(project, encoding="unicode") + "\n"


def _structure(parent: ET.Element, piece: Piece) -> None:
    struct = _add(_add(_add(parent, "dataType", name=piece.name), "baseType"), "struct")
    for declared in piece.sections[0][1]:
        _variable(struct, declared)


def _pou(parent: ET.Element, piece: Piece) -> None:
    pou = _add(parent, "pou", name=piece.name, pouType=KINDS[piece.kind])
    interface = _add(pou, "interface")
    if piece.result:
        _type(_add(interface, "returnType"), piece.result)
    for keyword, declared in piece.sections:
        _section(interface, keyword, declared)
    _text(_add(_add(pou, "body"), "ST"), piece.body)
    if piece.kind != "FUNCTION" and piece.comment:
        _text(_add(pou, "documentation"), piece.comment)


def _section(parent: ET.Element, keyword: str, declared: list[Declared]) -> None:
    name, attributes = SECTIONS[keyword]
    section = _add(parent, name, **attributes)
    for variable in declared:
        _variable(section, variable)


def _variable(parent: ET.Element, declared: Declared) -> None:
    variable = _add(parent, "variable", name=declared.name)
    _type(_add(variable, "type"), declared.type)
    if declared.initial:
        _add(_add(variable, "initialValue"), "simpleValue", value=declared.initial)
    if declared.comment:
        _text(_add(variable, "documentation"), declared.comment)


def _type(parent: ET.Element, kind: str) -> None:
    match = ARRAY.match(kind)
    if match:
        low, high, item = match.groups()
        array = _add(parent, "array")
        _add(array, "dimension", lower=low, upper=high)
        _type(_add(array, "baseType"), item)
    elif kind in ELEMENTARY:
        _add(parent, kind)
    else:
        _add(parent, "derived", name=kind)


def _text(parent: ET.Element, text: str) -> None:
    ET.SubElement(parent, f"{{{XHTML}}}xhtml").text = text


def _add(parent: ET.Element, tag: str, /, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, _tag(tag), attributes)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def generated() -> dict[str, str]:
    """Return file name and text of all that is generated."""
    constants = export(Format.ST, WordOrder.HIGH_FIRST, every=False)
    sources = [constants if name == "LW_Map" else _read(name) for name in (*SOURCES, *BLOCKS)]
    found = [piece for source in sources for piece in pieces(source)]
    return {"LW_Map.st": constants, "Linewarden.xml": document(found)}


def _read(name: str) -> str:
    return (FOLDER / f"{name}.st").read_text(encoding="utf-8")


def main() -> None:
    for name, text in generated().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
