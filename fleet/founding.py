"""What a new fleet consists of: its people, their trust document, the first version of every role."""

import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from fleet.building import trust_document
from fleet.errors import NotDone
from fleet.folder import Duty, Fleet, Folder, Member, Pins, open_key
from fleet.people import load_private_key, ssl_key
from fleet.repository_plan import DELEGATED, Keyholder, Plan
from fleet.rollout import encode
from signing.durable import write_durably
from signing.key_file import make_development_key
from signing.keyring import STORE_DOCUMENT
from signing.permission import REVOKED_PATH, ROLLOUT_PATH, RevokedList, RolloutList
from signing.trust import Role

ONLINE = Path("online", "online.pem")
FILE_URI = "file:"


class PeopleFile(Struct, frozen=True, forbid_unknown_fields=True):
    """people.toml: `module`, and a [[person]] with `name`, `duties` and `key` for each."""

    person: tuple[Member, ...]
    module: str = ""


def read_people(path: Path) -> PeopleFile:
    """Read people.toml.

    Raises:
        NotDone: it is not there or not like that.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), PeopleFile)
    except (OSError, ValueError) as error:
        raise NotDone(f"{path}: {' '.join(str(error).split())}; see docs/operations/fleet.md") from error


def member(text: str) -> Member:
    """Return a person from `NAME,DUTY+DUTY,KEY`, as --person has it.

    Raises:
        NotDone: not of that form.
    """
    parts = [part.strip() for part in text.split(",", 2)]
    if len(parts) != 3:
        raise NotDone(f"--person {text}: write NAME,DUTIES,KEY, for example 'Anna Berg,qa+root,file:anna.pem'")
    try:
        return msgspec.convert({"name": parts[0], "duties": parts[1].split("+"), "key": parts[2]}, Member)
    except msgspec.ValidationError as error:
        raise NotDone(f"--person {text}: {error}; duties are qa, release, root, targets") from error


def opened(people: Sequence[Member], module: str, pins: Pins) -> tuple[Member, ...]:
    """Return the people with the public half of each key, read from where it lies.

    Raises:
        KeyUnusable: a key cannot be opened.
        NotDone: one key is named twice.
    """
    found: list[Member] = []
    for person in people:
        key = absolute(person.key)
        public = open_key(key, module, person.name, pins).public_pem.decode()
        if public in {other.public for other in found}:
            raise NotDone(f"{person.name}: this key is another person's already; each person has a key of their own")
        found.append(msgspec.structs.replace(person, key=key, public=public))
    return with_duties(tuple(found))


def absolute(key: str) -> str:
    """Return the address of a key such that it holds in any folder."""
    return FILE_URI + str(Path(key.removeprefix(FILE_URI)).resolve()) if key.startswith(FILE_URI) else key


def with_duties(people: tuple[Member, ...]) -> tuple[Member, ...]:
    """Give out the duties that fewer than two people have: root to all, targets to the first of qa and of release.

    Raises:
        NotDone: there are not two people, one of qa and another of release.
    """
    quality = next((one for one in people if Role.QA in one.duties), None)
    release = next((one for one in people if Role.RELEASE in one.duties and one is not quality), None)
    if quality is None or release is None:
        raise NotDone("a fleet needs two people, one with duty qa and another with duty release; name them")
    people = _given(people, "root", people)
    return _given(people, "targets", [one for one in people if one.name in (quality.name, release.name)])


def _given(people: tuple[Member, ...], duty: Duty, to: Sequence[Member]) -> tuple[Member, ...]:
    if sum(duty in one.duties for one in people) > 1:
        return people
    return tuple(
        msgspec.structs.replace(one, duties=(*one.duties, duty)) if one in to and duty not in one.duties else one
        for one in people
    )


def trust_of(fleet: Fleet) -> bytes:
    """Return trust.json of a fleet: the people of qa and release.

    Raises:
        TrustStoreError: devices would refuse it.
    """
    roles = {role: tuple(person.name for person in fleet.having(role)) for role in Role}
    named = {name for names in roles.values() for name in names}
    people = [(person.name, person.public_key) for person in fleet.people if person.name in named]
    return trust_document(people, roles, development=fleet.development)


def keyholder(person: Member) -> Keyholder:
    """Return a person as the repository knows them."""
    return Keyholder(person.name, ssl_key(person.public_key))


def found(folder: Folder, fleet: Fleet, bins: int, now: datetime) -> None:
    """Write fleet.json, make the online key if it is not there, and stage the first version of every role.

    Raises:
        NotDone: there is a fleet already, or too few people.
        KeyUnusable: the online key cannot be used.
    """
    online = make_online(fleet.online)
    plan = Plan(
        root=[keyholder(person) for person in fleet.having("root")],
        top=[keyholder(person) for person in fleet.having("targets")],
        people=dict.fromkeys(
            DELEGATED,
            [keyholder(one) for one in fleet.people if Role.QA in one.duties or Role.RELEASE in one.duties],
        ),
        online=online,
        bins=bins,
    )
    trust = trust_of(fleet)
    folder.builder.init(plan, now)
    first = {REVOKED_PATH: encode(RevokedList(1)), ROLLOUT_PATH: encode(RolloutList(1))}
    folder.builder.set_documents({STORE_DOCUMENT: trust, **first}, now)
    write_durably(folder.trust, trust)
    folder.write(fleet)


def make_online(uri: str) -> Keyholder:
    """Return the online key's public half; a PEM file that is not there is made, readable for its owner alone."""
    path = Path(uri.removeprefix(FILE_URI))
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_development_key(path)
    return Keyholder("online", ssl_key(load_private_key(path).public_key()))
