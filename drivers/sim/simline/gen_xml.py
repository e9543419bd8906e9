"""Writes descriptions.h (GenApi 1.1 descriptions as C strings) and registers.h (the addresses behind them).

Called by the Makefile beside it: `python3 gen_xml.py BUILD_DIR`. One table of features is the source of both, so that
the node map and the register bank cannot disagree. Feature names follow SFNC 2.7.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CHUNKS = ("FrameID", "Timestamp", "ExposureTime", "CounterValue", "EncoderValue", "LineStatusAll")
CHUNK_BASE = 0x1001
COUNTER_SOURCES = ("Off", "Line0", "Line1", "FrameTrigger", "FrameTriggerMissed", "FrameStart")
HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n<RegisterDescription ModelName="{model}" VendorName="Linewarden" '
    'StandardNameSpace="{names}" ProductGuid="{guid}" VersionGuid="{guid}" '
    'xmlns="http://www.genicam.org/GenApi/Version_1_1" SchemaMajorVersion="1" SchemaMinorVersion="1" '
    'SchemaSubMinorVersion="0" MajorVersion="1" MinorVersion="0" SubMinorVersion="0" ToolTip="{model}">\n'
)


@dataclass(frozen=True, slots=True)
class Feature:
    """One SFNC feature over one register; `kind` is the GenApi node it becomes."""

    name: str
    kind: str  # Integer, Float, Boolean, Enumeration, Command, StringReg
    length: int = 4
    access: str = "RW"
    limits: str = ""
    entries: tuple[tuple[str, int], ...] = ()
    selector: str = ""
    count: int = 1
    locked: bool = False
    signed: bool = False
    port: str = "Device"
    address: int | None = None


def entries(*names: str) -> tuple[tuple[str, int], ...]:
    return tuple((name, value) for value, name in enumerate(names))


def text(name: str, length: int = 32) -> Feature:
    return Feature(name, "StringReg", length, "RO")


def chunk(name: str, kind: str, which: str, *, signed: bool = False, selector: str = "") -> Feature:
    return Feature(name, kind, 8, "RO", signed=signed, selector=selector, port=f"{which}Port", address=0)


def limits(low: str, high: str, unit: str = "") -> str:
    return f"<Min>{low}</Min><Max>{high}</Max>" + (f"<Unit>{unit}</Unit>" if unit else "")


DEVICE = (
    *(text(f"Device{part}") for part in ("VendorName", "ModelName", "SerialNumber", "UserID", "Version")),
    Feature("DeviceTemperature", "Float", 8, "RO", limits("-40", "125", "C")),
    Feature("DeviceReset", "Command"),
    Feature("SensorWidth", "Integer", access="RO"),
    Feature("SensorHeight", "Integer", access="RO"),
    Feature("Width", "Integer", limits="<Min>16</Min><pMax>SensorWidth</pMax>", locked=True),
    Feature("Height", "Integer", limits="<Min>1</Min><pMax>SensorHeight</pMax>", locked=True),
    Feature("PixelFormat", "Enumeration", entries=(("Mono8", 0x01080001),), locked=True),
    Feature("PayloadSize", "Integer", access="RO"),
    Feature("AcquisitionMode", "Enumeration", entries=entries("Continuous")),
    Feature("AcquisitionStart", "Command"),
    Feature("AcquisitionStop", "Command"),
    Feature("AcquisitionFrameRate", "Float", 8, limits=limits("0.1", "2000", "Hz")),
    Feature("TriggerSelector", "Enumeration", entries=entries("FrameStart")),
    Feature("TriggerMode", "Enumeration", entries=entries("Off", "On")),
    Feature("TriggerSource", "Enumeration", entries=entries("Software", "Line0", "Line1")),
    Feature("TriggerActivation", "Enumeration", entries=entries("RisingEdge")),
    Feature("TriggerSoftware", "Command"),
    Feature("ExposureTime", "Float", 8, limits=limits("1", "1000000", "us")),
    Feature("Gain", "Float", 8, limits=limits("0", "24", "dB")),
    Feature("CounterSelector", "Enumeration", entries=entries("Counter0", "Counter1")),
    Feature(
        "CounterEventSource", "Enumeration", entries=entries(*COUNTER_SOURCES), selector="CounterSelector", count=2
    ),
    Feature(
        "CounterEventActivation", "Enumeration", entries=entries("RisingEdge"), selector="CounterSelector", count=2
    ),
    Feature("CounterReset", "Command", selector="CounterSelector", count=2),
    Feature("CounterValue", "Integer", 8, "RO", selector="CounterSelector", count=2),
    Feature("TimestampLatch", "Command"),
    Feature("TimestampLatchValue", "Integer", 8, "RO", signed=True),
    Feature("TimestampReset", "Command"),
    Feature("EncoderValue", "Integer", 8, "RO", signed=True),
    Feature("LineStatusAll", "Integer", access="RO"),
    Feature("ChunkModeActive", "Boolean", locked=True),
    Feature("ChunkSelector", "Enumeration", entries=entries(*CHUNKS)),
    Feature("ChunkEnable", "Boolean", locked=True),
    Feature("ChunkMask", "Integer", access="RO"),
    chunk("ChunkFrameID", "Integer", "FrameID"),
    chunk("ChunkTimestamp", "Integer", "Timestamp"),
    chunk("ChunkExposureTime", "Float", "ExposureTime"),
    chunk("ChunkCounterValue", "Integer", "CounterValue", selector="ChunkCounterSelector"),
    chunk("ChunkEncoderValue", "Integer", "EncoderValue", signed=True),
    chunk("ChunkLineStatusAll", "Integer", "LineStatusAll"),
)
STREAM = tuple(
    Feature(f"Stream{name}Count", "Integer", 8, "RO", port="StreamPort", address=8 * i)
    for i, name in enumerate(("DeliveredFrame", "LostFrame", "IncompleteFrame", "InputBuffer"))
)
LOCAL_NODES = (  # live in the consumer's node map, not in the camera
    '<Integer Name="TLParamsLocked"><Visibility>Invisible</Visibility><Value>0</Value>'
    "<Min>0</Min><Max>1</Max></Integer>",
    '<Integer Name="ChunkCounterIndex"><Value>0</Value></Integer>',
    '<Enumeration Name="ChunkCounterSelector"><EnumEntry Name="Counter0"><Value>0</Value></EnumEntry>'
    '<EnumEntry Name="Counter1"><Value>1</Value></EnumEntry><pValue>ChunkCounterIndex</pValue></Enumeration>',
)


def placed(features: Iterable[Feature]) -> list[tuple[Feature, int]]:
    """Gives every feature without a fixed address the next multiple of 8."""
    at, out = 0, []
    for feature in features:
        if feature.address is not None:
            out.append((feature, feature.address))
            continue
        out.append((feature, at))
        at = (at + feature.length * feature.count + 7) & ~7
    return out


def register_node(feature: Feature, address: int) -> str:
    kind = {"Float": "FloatReg", "StringReg": "StringReg"}.get(feature.kind, "IntReg")
    name = feature.name if kind == "StringReg" else f"{feature.name}Reg"
    index = ""
    if feature.selector:
        source = "ChunkCounterIndex" if feature.selector == "ChunkCounterSelector" else f"{feature.selector}Reg"
        index = f'<pIndex Offset="{feature.length}">{source}</pIndex>'
    sign = f"<Sign>{'Signed' if feature.signed else 'Unsigned'}</Sign>" if kind == "IntReg" else ""
    order = "" if kind == "StringReg" else "<Endianess>LittleEndian</Endianess>"
    return (
        f'<{kind} Name="{name}"><Address>0x{address:x}</Address>{index}<Length>{feature.length}</Length>'
        f"<AccessMode>{feature.access}</AccessMode><pPort>{feature.port}</pPort><Cachable>NoCache</Cachable>"
        f"{sign}{order}</{kind}>"
    )


def feature_node(feature: Feature, selected: list[str]) -> str:
    if feature.kind == "StringReg":
        return ""
    lock = "<pIsLocked>TLParamsLocked</pIsLocked>" if feature.locked else ""
    body = "".join(f'<EnumEntry Name="{name}"><Value>{value}</Value></EnumEntry>' for name, value in feature.entries)
    tail = {"Command": "<CommandValue>1</CommandValue>", "Boolean": "<OnValue>1</OnValue><OffValue>0</OffValue>"}
    pointers = "".join(f"<pSelected>{name}</pSelected>" for name in selected)
    return (
        f'<{feature.kind} Name="{feature.name}">{lock}{body}<pValue>{feature.name}Reg</pValue>'
        f"{tail.get(feature.kind, '')}{feature.limits}{pointers}</{feature.kind}>"
    )


def nodes_of(features: Iterable[Feature]) -> list[str]:
    out = []
    for feature, address in placed(features):
        selected = [other.name for other in features if other.selector == feature.name]
        selected += ["ChunkEnable"] if feature.name == "ChunkSelector" else []
        out += [register_node(feature, address), feature_node(feature, selected)]
    return [node for node in out if node]


def description(model: str, number: int, port: str, features: tuple[Feature, ...], extra: tuple[str, ...] = ()) -> str:
    guid = f"11111111-2222-3333-4444-55555555555{number}"
    names = "".join(f"<pFeature>{feature.name}</pFeature>" for feature in features)
    names += "<pFeature>ChunkCounterSelector</pFeature>" if extra else ""
    ports = [f'<Port Name="{port}"></Port>']
    if port == "Device":
        ports += [f'<Port Name="{c}Port"><ChunkID>{CHUNK_BASE + i:x}</ChunkID></Port>' for i, c in enumerate(CHUNKS)]
    body = [f'<Category Name="Root"><pFeature>{model}</pFeature></Category>']
    body += [f'<Category Name="{model}">{names}</Category>', *nodes_of(features), *extra, *ports]
    head = HEAD.format(model=model, guid=guid, names="None")
    return head + "\n".join(body) + "\n</RegisterDescription>\n"


def c_string(name: str, value: str) -> str:
    lines = (line.replace("\\", "\\\\").replace('"', '\\"') for line in value.splitlines())
    return f"static const char {name}[] =\n" + "\n".join(f'"{line}\\n"' for line in lines) + ";\n"


def registers_header() -> str:
    rows, addresses = [], []
    for feature, address in placed(DEVICE):
        if feature.address is not None:
            continue
        addresses.append(f"  REG_{feature.name} = 0x{address:x},")
        flags = f"{int(feature.access == 'RW')}, {int(feature.locked)}"
        rows += [
            f"    {{0x{address + i * feature.length:x}, {feature.length}, {flags}}}," for i in range(feature.count)
        ]
    chunk_ids = "".join(f"  CHUNK_ID_{name} = 0x{CHUNK_BASE + i:x},\n" for i, name in enumerate(CHUNKS))
    return (
        "/* Generated by gen_xml.py. */\n#pragma once\n#include <stdint.h>\n"
        "enum {\n" + "\n".join(addresses) + "\n};\nenum {\n" + chunk_ids + "};\n"
        "typedef struct { uint32_t address, length; uint8_t writable, locked; } register_entry;\n"
        "__attribute__((unused)) static const register_entry register_table[] = {\n" + "\n".join(rows) + "\n};\n"
    )


def main(folder: Path) -> None:
    texts = {
        "XML_DEVICE": description("SimLine", 1, "Device", DEVICE, LOCAL_NODES),
        "XML_STREAM": description("SimLineStream", 2, "StreamPort", STREAM),
        "XML_MODULE": description("SimLineModule", 3, "ModulePort", ()),
    }
    strings = "".join(c_string(name, value) for name, value in texts.items())
    (folder / "descriptions.h").write_text("/* Generated by gen_xml.py. */\n#pragma once\n" + strings)
    (folder / "registers.h").write_text(registers_header())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
