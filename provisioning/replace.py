"""`linewarden station replace`: a new box takes the place of a broken one. Run on the new box, before its first start.

Three steps, each of which is seen to be done and then left alone when the command is run again: the request to revoke
the old device, the records from the archive, the enrolment under the old name. The authority gives the name to the new
box only once the old device is revoked, so the last step may have to wait for the fleet's people.
"""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from daemon import restored
from daemon.ledger_file import LEDGER, reading
from daemon.restored import NoteDamaged
from daemon.uplink.shipping import Step
from daemon.uplink.stores import Store
from provisioning.enroll import Device, EnrolFailed, read_paper
from provisioning.restore import Person, Restored, restore
from signing.durable import write_durably
from signing.revocation_request import RevocationRequest, encoded_request, read_revocation_request
from signing.utc import utc_text


def plan(device: Device, old: str, request: Path, source: str) -> list[str]:
    """Return the steps before enrolment, a line each.

    Raises:
        EnrolFailed: the state folder holds other records.
    """
    done = " (done)" if has_records(device.state) else ""
    asked = " (done)" if _asked_for(request, old) else ""
    return [
        f"write the request to revoke device {old[:16]} to {request}: carry it to the fleet{asked}",
        f"restore the records from {source} to {device.state}{done}",
    ]


def has_records(state: Path) -> bool:
    """Return whether records were restored into this state folder, by whichever run.

    Raises:
        EnrolFailed: there are records that were not restored.
    """
    if not (state / LEDGER).exists():
        return False
    try:
        if restored.read(state) is not None:
            return True
    except NoteDamaged as error:
        raise EnrolFailed(str(error)) from error
    with reading(state / LEDGER) as db:
        if _says_restored(db):
            return True
    raise EnrolFailed(f"{state}: holds records of its own: move them away, or enrol with `linewarden enroll`")


def ask_for_revocation(device: Device, old: str, request: Path, person: Person) -> None:
    """Write the request, unless it is there.

    Raises:
        EnrolFailed: another file is there, or it cannot be written.  DocumentInvalid: a field does not fit.
    """
    if _asked_for(request, old):
        return
    if request.exists():
        raise EnrolFailed(f"{request}: is another file: name a new one")
    utc = utc_text(datetime.now(UTC))
    made = RevocationRequest(1, "device", old, device.updates.device, person.why, person.name, utc)
    try:
        write_durably(request, encoded_request(made))
    except OSError as error:
        raise EnrolFailed(f"{request}: {error.strerror}: name a folder that can be written") from error


def bring_records(device: Device, store: Store, step: Step, keys: list[Path], person: Person) -> Restored:
    """Restore into the empty state folder.

    Raises:
        ArchiveFailed: these records cannot be restored.
    """
    return restore(store, device.state, step, keys, person)


def _asked_for(request: Path, old: str) -> bool:
    if not request.exists():
        return False
    found = read_revocation_request(read_paper(request), str(request))
    return found.id == old


def _says_restored(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM audit WHERE what = 'trail-restored' LIMIT 1").fetchone() is not None
