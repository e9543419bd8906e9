"""A device whose station asks for ONNX Runtime's plans, and the person of role qa who signs what it built."""

from pathlib import Path
from typing import Any

from msgspec import structs

from daemon.config import load
from daemon.store_requests import Response, What
from daemon.vision.plan import Plan, folders_of, open_plan
from engines.plan_file import EVIDENCE, MAC, PLAN, Evidence
from engines.plan_shelf import PLANS, lying
from fleet.plans import Asked, read_asked
from provisioning import plan_request, plans_view
from tests.unit.store_world import Device
from tests.vectors import plan_approval_1
from tests.vectors.plan_approval_1 import BACKEND

PARTS = (PLAN, EVIDENCE, MAC)


class PlanDevice(Device):
    """A state folder with a store; the station runs plans and points at what is active there."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, more=more)
        text = self.station.read_text()
        for name in ("bundle", "recipe", "trust"):
            text = text.replace(f'{name} = "{name}"', f'{name} = "state/store/active/{name}"')
        self.station.write_text(text.replace("[vision]\n", f'[vision]\nbackend = "{BACKEND}"\n'))

    @property
    def plans(self) -> Path:
        return self.store / PLANS

    @property
    def evidence(self) -> Evidence:
        """Of the one plan that lies there."""
        (found,) = lying(self.plans)
        return found

    def file(self, name: str) -> Path:
        return self.plans / self.evidence.source.key / name

    def asked(self, number: int = 1) -> Asked:
        """What the device asks for, as QA reads it."""
        bundle = f"bundle-{number}"
        found = plans_view.request(plans_view.open_view(self.store, self.station), self.digests[bundle])
        path = self.folder / f"request-{number}.json"
        path.write_bytes(plan_request.encode(found))
        return read_asked(path, self.source(bundle))

    def changed(self, plans: dict[str, Any] | None = None, **changes: Any) -> Asked:
        """The same with something else in it."""
        asked = self.asked()
        return Asked(structs.replace(asked.request, **changes), plans or asked.plans, ())

    def approve(self, raw: bytes) -> Response:
        return self.ask(What.APPROVE_PLAN, raw.decode())

    def inspects(self, number: int = 1) -> None:
        """Install, have it signed, activate."""
        self.install(number)
        for answer in (self.approve(plan_approval_1.sign(self.asked(number))), self.activate(number)):
            assert answer.ok, answer.text

    def opened(self) -> Plan:
        """Do what vision does at its start."""
        station = load(self.station)
        return open_plan(station, folders_of(self.station, station))
