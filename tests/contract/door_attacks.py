"""Attacks at the doors: a device that wants an identity, an orchestrator that gives orders, an act on a batch."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key as public_key

from fleet.building import trust_document
from fleet.tokens import Wanted, new_claims, sign_token
from signing.certificates import Usage, read_certificate
from signing.est import reenrolment
from signing.identity import device_id
from signing.short_lived import new_client_key
from signing.store import read_state
from signing.trust import Role, key_id_of
from tests.contract.attack import Attack, Attempt, listed_in
from tests.contract.door_world import Counter, Door
from tests.contract.enrolment_world import LINE, STATION, Site, enrolled, request_of
from tests.contract.recorder_box import LOADED, act
from tests.contract.stick_world import LINE as STICK_LINE
from tests.contract.stick_world import Stick
from tests.contract.swap_orders import OTHER, QA, RELEASE, order, swap

ENROLMENT: list[Attack[Door]] = []
ORCHESTRATION: list[Attack[Stick]] = []
BATCHES: list[Attack[Counter]] = []
enrolment, orchestration, batch = listed_in(ENROLMENT), listed_in(ORCHESTRATION), listed_in(BATCHES)
WANTED = Wanted(STATION, LINE, "new device")
NO = "EnrolmentRefused"
ALLOWLIST = f"allowlists/{STICK_LINE}.json"


# Enrolment


@enrolment("enrolment token replayed by another device", NO, "was used by another device")
def _replayed(door: Door) -> Attempt:
    token = door.site.token()
    door.enrols(door.device, token)()
    return door.enrols(door.other, token)


@enrolment("enrolment token expired", NO, "was good until")
def _expired(door: Door) -> Attempt:
    claims = new_claims(Wanted(STATION, LINE, "r", life=timedelta(hours=1)), datetime.now(UTC) - timedelta(hours=2))
    return door.enrols(door.device, sign_token(claims, door.site.signatories()))


@enrolment("enrolment token with one signature", NO)
def _one_signature(door: Door) -> Attempt:
    token = json.loads(door.site.token())
    del token["release"]
    return door.enrols(door.device, json.dumps(token).encode())


@enrolment("enrolment token with one signature in both places", NO)
def _same_signature(door: Door) -> Attempt:
    token = json.loads(door.site.token())
    return door.enrols(door.device, json.dumps({**token, "release": token["qa"]}).encode())


@enrolment("enrolment token put together from two", NO)
def _mixed(door: Door) -> Attempt:
    one, other = (json.loads(door.site.token()) for _ in range(2))
    return door.enrols(door.device, json.dumps({**one, "release": other["release"]}).encode())


@enrolment("enrolment token signed twice by one person", NO, "does not have role 'release'")
def _one_person(door: Door) -> Attempt:
    person = door.site.signatories()[Role.QA]
    return door.enrols(door.device, sign_token(new_claims(WANTED, datetime.now(UTC)), dict.fromkeys(Role, person)))


@enrolment("enrolment token signed by one person with two keys", NO, "signed as both")
def _two_keys(door: Door) -> Attempt:
    signers = door.site.signatories()
    listed = [("Anna Berg", public_key(one.public_pem)) for one in signers.values()]
    roles = {role: ("Anna Berg",) for role in Role}
    door.site.trust_file.write_bytes(trust_document(listed, roles, development=True))
    return door.enrols(door.device, sign_token(new_claims(WANTED, datetime.now(UTC)), signers))


@enrolment("enrolment token of another fleet's people", NO, "nobody's in the trust store")
def _foreign(door: Door) -> Attempt:
    return door.enrols(door.device, Site(door.folder / "foreign").token())


@enrolment("enrolment token of another station", NO, "the request is another's")
def _other_station(door: Door) -> Attempt:
    return door.enrols(door.device, door.site.token("filler-9"))


@enrolment("enrolment token bound to another key", NO, "the token is for device")
def _other_key(door: Door) -> Attempt:
    return door.enrols(door.device, door.site.token(identity=device_id(door.other.public_der)))


@enrolment("certificate request in another's name", NO, "the request is another's")
def _other_name(door: Door) -> Attempt:
    return door.enrols(door.device, door.site.token(), station="filler-9")


@enrolment("certificate request for the name of an enrolled device", NO, "revoke")
def _taken_name(door: Door) -> Attempt:
    door.enrols(door.device, door.site.token())()
    return door.enrols(door.other, door.site.token())


@enrolment("certificate request with a flipped bit", NO, "not signed by its own key")
def _flipped_request(door: Door) -> Attempt:
    request, token = bytearray(request_of(door.device)), door.site.token()
    request[-2] ^= 1

    def attempt() -> object:
        with door.site.serving() as authority:
            return authority.enrol(bytes(request), token)

    return attempt


def _revoked(door: Door) -> bytes:
    """Enrol the device and revoke it; return its certificate."""
    with door.site.serving() as authority:
        certificate = enrolled(door.site, authority, door.device)
    with door.site.open() as desk:
        desk.revoke(certificate.subject.id, "stolen", "a.person")
    return certificate.der


@enrolment("revoked device with a new token", NO, "is revoked")
def _revoked_again(door: Door) -> Attempt:
    _revoked(door)
    return door.enrols(door.device, door.site.token())


@enrolment("revoked device that renews its certificate", NO, "is revoked")
def _revoked_renews(door: Door) -> Attempt:
    certificate = read_certificate(_revoked(door), Usage.IDENTITY, door.site.anchors, "certificate")

    def attempt() -> object:
        with door.site.serving() as authority:
            return new_client_key(door.device, certificate, authority, door.site.anchors, 0.0)

    return attempt


@enrolment("a certificate renewed by another device", NO, "not signed by the key")
def _stolen_certificate(door: Door) -> Attempt:
    with door.site.serving() as authority:
        certificate = enrolled(door.site, authority, door.device)
    request = request_of(door.other)

    def attempt() -> object:
        with door.site.serving() as authority:
            return authority.reenrol(request, certificate.der, door.other.sign(reenrolment(request)))

    return attempt


# A stolen orchestrator, a wrong list. The device has pair 1, which is active; its fleet has pair 2 besides.


def build_stick(folder: Path) -> Stick:
    """Return a device with pair 1 active, and pair 2 published, listed nowhere and rolled out to nobody."""
    stick = Stick(folder)
    stick.add(1)
    stick.allow(1, activate=1)
    stick.publish()
    stick.apply()
    stick.add(2)
    return stick


def _lists(
    name: str, says: str, publish: Callable[[Stick], object], *, wish: int = 0, expected: str = "StoreRefused"
) -> None:
    """List what an update must refuse after `publish`, with the wish of an orchestrator for a pair or without one."""

    def prepare(stick: Stick) -> Attempt:
        publish(stick)
        stick.publish()
        return lambda: stick.apply(*([stick.pair(wish)] if wish else []))

    ORCHESTRATION.append(Attack(name, expected, prepare, says))


def _for_another_line(stick: Stick) -> None:
    stick.allow(1, 2)
    stick.roll_out(2, lines=["line-4"])


def _rolled_out_unlisted(stick: Stick) -> None:
    stick.allow(1)
    stick.roll_out(2)


def _revoked_and(*, activate: int = 0) -> Callable[[Stick], object]:
    def publish(stick: Stick) -> None:
        stick.allow(1, 2, activate=activate, change_control="CC-8")
        stick.roll_out(2)
        stick.revoke(("bundle", stick.pair(2)[0]))

    return publish


def _key_revoked(stick: Stick) -> None:
    stick.allow(1, 2, activate=2)
    (signer, _) = read_state(stick.world.store).installed[stick.pair(1)[0]].signers
    stick.revoke(("key", signer))


def _device_revoked(stick: Stick) -> None:
    stick.allow(1, 2)
    stick.roll_out(2)
    stick.revoke(("device", "filler-3"))


def _mismatched(stick: Stick) -> None:
    """The device has both pairs, and both people order recipe 1 beside bundle 2."""
    stick.allow(1, 2)
    stick.roll_out(2)
    stick.publish()
    stick.apply()
    stick.allow(1, 2, activate=2)
    right, wrong = (b'"recipe":"' + stick.pair(number)[1].encode() for number in (2, 1))
    _rewrites(stick, right, wrong)


def _older(stick: Stick) -> None:
    """The first pair gave way to the second; the orchestrator wants it back."""
    stick.allow(2, activate=2)
    stick.publish()
    stick.apply()
    stick.allow(2)


def _other_lines_list(stick: Stick) -> None:
    _rewrites(stick, b'"line":"line-3"', b'"line":"line-4"')


def _rewrites(stick: Stick, right: bytes, wrong: bytes) -> None:
    raw = stick.builder.read_document(ALLOWLIST)
    assert raw is not None and right in raw
    stick.builder.set_document(ALLOWLIST, raw.replace(right, wrong), stick.now)


_lists("stolen orchestrator orders what no list names", "no roll-out brings it", lambda stick: stick.allow(1), wish=2)
_lists(
    "stolen orchestrator orders what is rolled out and not listed",
    "is not on the allow-list",
    _rolled_out_unlisted,
    wish=2,
)
_lists("stolen orchestrator orders a revoked bundle", "is revoked", _revoked_and(), wish=2)
_lists("stolen orchestrator orders an older bundle", "no roll-out brings it", _older, wish=1)
_lists("stolen orchestrator orders what another line has", "no roll-out brings it", _for_another_line, wish=2)
_lists("stolen orchestrator orders for a revoked device", "this device is revoked", _device_revoked, wish=2)
_lists("roll-out of a bundle that is not on the allow-list", "is not on the allow-list", _rolled_out_unlisted)
_lists("roll-out of a revoked bundle", "is revoked", _revoked_and())
_lists("a revoked bundle to be activated", "is revoked", _revoked_and(activate=2))
_lists("a bundle signed with a revoked key", "that signed it is revoked", _key_revoked)
_lists("a recipe to be activated with another bundle", "is not for bundle", _mismatched)
_lists(
    "allow-list of another line", "is the allow-list of line 'line-4'", _other_lines_list, expected="DocumentInvalid"
)


@orchestration("an unlisted bundle installed from a folder", "StoreRefused", "not on the allow-list")
def _from_folder(stick: Stick) -> Attempt:
    return lambda: stick.install("bundle-2")


# A batch. B-1 is open, judged by one pair; the other is warm.


@batch("swap order for another batch", "Refused", "the order is for batch B-2, B-1 is open")
def _other_batch(counter: Counter) -> Attempt:
    return lambda: counter.does(swap(signature=order(batch="B-2")))


@batch("swap order for another pair", "Refused", "have the right one signed")
def _other_pair(counter: Counter) -> Attempt:
    return lambda: counter.does(swap(signature=order(LOADED)))


@batch("swap order replayed", "Refused", "was carried out in this batch already")
def _swap_replayed(counter: Counter) -> Attempt:
    counter.does(swap())
    counter.does(swap(LOADED, order(LOADED, minutes=1)))
    return lambda: counter.does(swap())


@batch("swap order signed by release", "Refused", "does not have role 'qa'")
def _by_release(counter: Counter) -> Attempt:
    return lambda: counter.does(swap(signature=order(key=RELEASE, name="Jonas Weber")))


@batch("swap without an order", "Refused", "swap order")
def _unsigned(counter: Counter) -> Attempt:
    return lambda: counter.does(swap(signature=""))


@batch("swap to a revoked bundle", "Refused", "is revoked: misses fibres")
def _swap_revoked(counter: Counter) -> Attempt:
    counter.revoke(("bundle", OTHER.bundle))
    return lambda: counter.does(swap())


@batch("swap order signed with a revoked key", "Refused", "is revoked: misses fibres")
def _swap_revoked_key(counter: Counter) -> Attempt:
    counter.revoke(("key", key_id_of(QA.public_key())))
    return lambda: counter.does(swap())


@batch("batch opened with a revoked bundle", "Refused", "is revoked: misses fibres")
def _open_revoked(counter: Counter) -> Attempt:
    return _opened(counter, ("bundle", LOADED.bundle))


@batch("batch opened with a revoked recipe", "Refused", "is revoked: misses fibres")
def _open_revoked_recipe(counter: Counter) -> Attempt:
    return _opened(counter, ("recipe", LOADED.recipe))


def _opened(counter: Counter, entry: tuple[str, str]) -> Attempt:
    counter.closes()
    counter.revoke(entry)
    return lambda: counter.does(act("batch-open", "B-2"))
