"""What of a station document contradicts itself or the law, each as the line that the technician reads. Pure."""

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING

from daemon import faults

if TYPE_CHECKING:
    from daemon.config import Input, Station


def contradictions(station: "Station") -> Iterator[str]:
    """Yield what is wrong between the keys of a station document; called by its loader."""
    names = [camera.name for camera in station.cameras]
    stations = [camera.station for camera in station.cameras]
    geometry = station.geometry
    problems = {
        "$.cameras: at least one camera is needed": not names,
        "$.cameras: two cameras have one name": len(set(names)) != len(names),
        "$.cameras: two cameras have one trigger station": len(set(stations)) != len(stations),
        "$.wiring.host: write an IPv4 address, not a name": not _is_address(getattr(station.wiring, "host", "0.0.0.0")),
        f"$.inputs: name each of {', '.join(faults.INPUTS)} once, on its own bit": not _inputs_fit(station.inputs),
        "$.simulated: simulated parts are refused while production = true": station.simulated and station.production,
        "$.recorder.key: a development key is refused while production = true": station.recorder.key == "development"
        and station.production,
        "$.geometry: the eyes stand after the gate": min(geometry.chute_eye_mm, geometry.pass_eye_mm)
        <= geometry.gate_mm,
    }
    yield from (text for text, wrong in problems.items() if wrong)


def _inputs_fit(inputs: "list[Input]") -> bool:
    names, bits = [entry.name for entry in inputs], [entry.bit for entry in inputs]
    return set(names) <= set(faults.INPUTS) and len(set(names)) == len(names) and len(set(bits)) == len(bits)


def _is_address(host: str) -> bool:
    """A name would be looked up inside the line's loop, which must never wait."""
    try:
        return bool(ipaddress.IPv4Address(host))
    except ValueError:
        return False
