"""The plans of one station: may this one be loaded? Built here, for exactly this device, and signed by a person.

```
STORE/plans/key                 the device's own, for the codes (engines.plan_file)
STORE/plans/KEY/{plan,evidence.json,mac}
STORE/plans/KEY/BUNDLE.approval a person's leave to use this plan for that bundle (signing.plan_approval)
```
Process `slots` writes all of it; `vision` reads.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from engines.backends import PlanMaker, plan_maker
from engines.errors import PlanMissing, PlanRefused
from engines.plan_file import EVIDENCE, CheckedPlan, Evidence, PlanSource, differences, read_device_key, read_plan
from signing.errors import SignatureInvalid
from signing.plan_approval import MAX_PLAN_APPROVAL_BYTES, ApprovedPlan, PlanApproval, read_plan_approval
from signing.trust import Trust
from signing.verify import VerifiedBundle

PLANS, KEY_FILE, APPROVAL = "plans", "key", ".approval"


@dataclass(frozen=True, slots=True)
class Cleared:
    """A plan that may be loaded, for one bundle. Made by `Shelf.approved` alone."""

    checked: CheckedPlan
    maker: PlanMaker
    approval: PlanApproval


@dataclass(frozen=True, slots=True)
class Shelf:
    """`root` is STORE/plans, `station` the station's name, `trust` what approvals are verified against."""

    root: Path
    station: str
    maker: PlanMaker
    trust: Trust

    def approved(self, bundle: VerifiedBundle, name: str) -> Cleared:
        """Return the plan of model `name` if it may be loaded.

        Called by: `vision` for each model before it loads, and `slots` before it makes a bundle active.

        Raises:
            PlanMissing: it was not built for this device as it is now. PlanRefused: it is damaged, or nobody signed it.
            SignatureInvalid: what lies beside it is no approval, or not for this.
            BackendMissing, DeviceFailed: the runtime cannot be asked.
        """
        checked = self.sound(bundle, name)
        where = described(bundle, name)
        path = self.place(checked.evidence.source, bundle.digest)
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_PLAN_APPROVAL_BYTES + 1)
        except FileNotFoundError as error:
            plan = f"{checked.evidence.plan_sha256[:12]} ({self.maker.name})"
            raise PlanRefused(f"{where}: nobody has signed its plan {plan}; {_sign(bundle)}") from error
        except OSError as error:
            raise PlanRefused(f"{where}: its approval cannot be read: {error.strerror}; {_sign(bundle)}") from error
        approval = read_plan_approval(raw, self.trust, f"{where}: plan approval")
        self.require(approval, bundle, name, checked.evidence)
        return Cleared(checked, self.maker, approval)

    def sound(self, bundle: VerifiedBundle, name: str) -> CheckedPlan:
        """Return the plan that was built here of model `name`, signed or not.

        Raises:
            PlanMissing, PlanRefused, BackendMissing, DeviceFailed: see `approved`.
        """
        where, source = described(bundle, name), self.source(bundle, name)
        try:
            return self.kept(source)
        except PlanMissing as error:
            raise PlanMissing(
                f"{where}: no plan of it for this device: {self._why(source, error)}; {_build(bundle)}"
            ) from error
        except PlanRefused as error:
            raise PlanRefused(f"{where}: {str(error).removesuffix('; build it again')}; {_build(bundle)}") from error

    def source(self, bundle: VerifiedBundle, name: str) -> PlanSource:
        """Return what a plan of model `name` depends on here, now.

        Raises:
            BackendMissing, DeviceFailed: the runtime cannot be asked.
        """
        return self.maker.source(bundle.files[bundle.manifest.models[name].file].sha256)

    def kept(self, source: PlanSource) -> CheckedPlan:
        """Return the plan that this device built of a source.

        Raises:
            PlanMissing, PlanRefused: see `engines.plan_file`.
        """
        return read_plan(self.root, source, read_device_key(self.root / KEY_FILE))

    def require(self, approval: PlanApproval, bundle: VerifiedBundle, name: str, evidence: Evidence) -> None:
        """Refuse an approval that is not for this plan of this bundle on this station.

        Raises:
            SignatureInvalid: naming what it is for.
        """
        found = approval.said.plans.get(name, ApprovedPlan("none of that model", ""))
        for what, given, wanted in (
            ("station", approval.said.station, self.station),
            ("back end", approval.said.backend, self.maker.name),
            ("bundle", approval.bundle, bundle.digest),
            ("plan", found.plan, evidence.plan_sha256),
        ):
            if given != wanted:
                raise SignatureInvalid(
                    f"{described(bundle, name)}: plan approval by {approval.said.printed_name}: it is for {what} "
                    f"{_short(given)}, here is {_short(wanted)}; {_sign(bundle)}"
                )

    def place(self, source: PlanSource, bundle: str) -> Path:
        """Return where the approval of a plan for the bundle with digest `bundle` lies."""
        return self.root / source.key / f"{bundle}{APPROVAL}"

    def _why(self, source: PlanSource, error: PlanMissing) -> str:
        """Say what else there is of the same graph: an update of the system changes the runtime under a plan."""
        for found in lying(self.root):
            if found.source.onnx_sha256 == source.onnx_sha256 and found.source != source:
                return f"one was built for {', '.join(differences(found.source, source))}"
        return str(error).removesuffix("; build it")


def shelf_of(store: Path, station: str, backend: str, trust: Trust) -> Shelf | None:
    """Return the shelf of a station; None where its back end runs the graphs themselves.

    Raises:
        BackendMissing: see `engines.backends.plan_maker`.
    """
    maker = plan_maker(backend)
    return Shelf(store / PLANS, station, maker, trust) if maker else None


def lying(root: Path) -> list[Evidence]:
    """Return what the evidence files below `root` say, newest first; nothing is verified: for people and sweeping."""
    found = []
    for path in root.glob(f"*/{EVIDENCE}"):
        try:
            evidence = msgspec.json.decode(path.read_bytes(), type=Evidence)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if evidence.source.key == path.parent.name:
            found.append(evidence)
    return sorted(found, key=lambda evidence: evidence.built_utc, reverse=True)


def described(bundle: VerifiedBundle, name: str) -> str:
    """Return a model of a bundle as a line names it."""
    return f"bundle {bundle.manifest.name} {bundle.manifest.version}, model '{name}'"


def _short(text: str) -> str:
    return text[:12] if len(text) == 64 else text


def _build(bundle: VerifiedBundle) -> str:
    return f"type `linewarden bundle build-plans {bundle.digest[:12]}`, then have QA sign what comes of it"


def _sign(bundle: VerifiedBundle) -> str:
    return (
        f"type `linewarden bundle plans {bundle.digest[:12]} --request FILE`, have QA sign FILE with "
        "`linewarden-fleet plan approve`, type `linewarden bundle approve-plan FILE`, and try again"
    )
