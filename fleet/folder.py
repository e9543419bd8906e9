"""The publishers' folder: `fleet.json` (people and their keys' addresses), repository, authority, journal.

fleet.json holds no secret: an address says where a key is, the token or the PEM file holds it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Meta, Struct

from fleet.errors import NotDone
from fleet.people import AskPin, Signatory, open_signer, pin_at_terminal, pin_from
from fleet.repository import RepositoryBuilder
from fleet.rollout import Document, digest_of, encode
from fleet.steps import tell
from provisioning.unsigned import document
from signing.durable import write_durably
from signing.errors import DocumentInvalid
from signing.index import Index, Kind, read_index
from signing.keyring import STORE_DOCUMENT, read_trust
from signing.manifest import PrintedName, strict_json
from signing.permission import (
    RESERVED,
    REVOKED_PATH,
    ROLLOUT_PATH,
    AllowList,
    Pair,
    RevokedList,
    RolloutList,
    allowlist_path,
    read_allowlist,
    read_revoked,
    read_rollouts,
)
from signing.trust import Trust, key_id_of

FLEET_DOCUMENT = "fleet.json"
_ALLOWLISTS = "allowlists/"
Duty = Literal["qa", "release", "root", "targets"]
Address = Annotated[str, Meta(pattern=r"^(file|pkcs11):.+\Z", max_length=400)]


class Member(Struct, frozen=True, forbid_unknown_fields=True):
    """One person: printed name, what the key may sign, where the key is, and its public half (PEM, filled by init)."""

    name: PrintedName
    duties: Annotated[tuple[Duty, ...], Meta(min_length=1)]
    key: Address
    public: str = ""

    @property
    def public_key(self) -> EllipticCurvePublicKey:
        """The public half.

        Raises:
            NotDone: fleet.json was changed by hand.
        """
        try:
            key = load_pem_public_key(self.public.encode())
        except ValueError as error:
            raise NotDone(f"{FLEET_DOCUMENT}: {self.name}'s public key is not PEM; restore the file") from error
        if not isinstance(key, EllipticCurvePublicKey):
            raise NotDone(f"{FLEET_DOCUMENT}: {self.name}'s key is not ECDSA; restore the file")
        return key

    @property
    def key_id(self) -> str:
        return key_id_of(self.public_key)


class Fleet(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="fleet"):
    """Who publishes.

    online: where the key is that signs snapshot and timestamp without a person.
    module: the PKCS#11 library of the tokens, "" where no key is in one.
    """

    format: Literal[1]
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    development: bool
    people: tuple[Member, ...]
    online: Address
    module: str = ""

    def having(self, duty: str) -> list[Member]:
        """Return the people with a duty."""
        return [person for person in self.people if duty in person.duties]

    def person(self, name: str) -> Member:
        """Return a person by printed name.

        Raises:
            NotDone: there is nobody of that name.
        """
        for person in self.people:
            if person.name == name:
                return person
        there = ", ".join(person.name for person in self.people)
        raise NotDone(f"nobody is called '{name}' in {FLEET_DOCUMENT}; there are: {there}")


class _NamesBundle(Struct, frozen=True):
    bundle: str


class Folder:
    """The paths below one fleet's folder, and its documents."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repository = path / "repository"
        self.builder = RepositoryBuilder(self.repository)
        self.trust = path / STORE_DOCUMENT
        self.authority = path / "authority"

    def read(self) -> Fleet:
        """Return fleet.json.

        Raises:
            NotDone: there is none, or it is not one.
        """
        path = self.path / FLEET_DOCUMENT
        try:
            return strict_json(path.read_bytes(), Fleet, str(path))
        except FileNotFoundError as error:
            raise NotDone(f"{path} is not there: name the fleet's folder with --fleet, or begin with init") from error
        except (OSError, DocumentInvalid) as error:
            raise NotDone(f"{path}: {error}; restore the file") from error

    def write(self, fleet: Fleet) -> None:
        """Write fleet.json, durably."""
        write_durably(self.path / FLEET_DOCUMENT, document(msgspec.to_builtins(fleet)))

    def read_trust(self) -> Trust:
        """Return the people whose signatures count, as published or staged.

        Raises:
            NotDone: there is no repository yet.
        """
        raw = self.builder.read_document(STORE_DOCUMENT)
        if raw is None:
            raise NotDone(f"{self.repository}: no {STORE_DOCUMENT} in it; begin with init")
        return read_trust(raw, STORE_DOCUMENT, production=False)

    def allowlist(self, line: str) -> AllowList:
        """Return a line's allow-list as staged or published, an empty one if it has none yet.

        Raises:
            DocumentInvalid: no name for a line.
        """
        raw = self.builder.read_document(allowlist_path(line))
        return read_allowlist(encode(AllowList(1, line, (), ())) if raw is None else raw, line)

    def lines(self) -> list[str]:
        """Return the lines that have an allow-list, staged or published."""
        return sorted(set(self._named(_ALLOWLISTS)) - RESERVED)

    def revoked(self) -> RevokedList:
        """Return what is revoked, as staged or published."""
        raw = self.builder.read_document(REVOKED_PATH)
        return RevokedList(1) if raw is None else read_revoked(raw)

    def rollouts(self) -> RolloutList:
        """Return the roll-outs, as staged or published."""
        raw = self.builder.read_document(ROLLOUT_PATH)
        return RolloutList(1) if raw is None else read_rollouts(raw)

    def digests(self, kind: Kind) -> list[str]:
        """Return the digests of the bundles or recipes in the repository, staged or published."""
        return self._named(kind.target("").removesuffix(".json"))

    def digest(self, kind: Kind, short: str) -> str:
        """Return the digest of a bundle or recipe in the repository that begins like this.

        Raises:
            NotDone: none, or several.
        """
        return digest_of(short, self.digests(kind), str(kind))

    def index(self, kind: Kind, digest: str) -> Index:
        """Return the index of a bundle or recipe.

        Raises:
            NotDone: it is not in the repository, or damaged there.
        """
        raw = self.builder.read_document(kind.target(digest))
        try:
            return read_index(raw or b"", kind, digest)
        except ValueError as error:
            raise NotDone(f"{kind} {digest[:12]}: {error}; restore the repository") from error

    def require_pair(self, pair: Pair) -> None:
        """Refuse a bundle and a recipe that was not made for it.

        Raises:
            NotDone: the recipe names another bundle, or its bytes are gone.
        """
        blob = self.builder.public / "blobs" / pair.recipe
        try:
            named = msgspec.json.decode(blob.read_bytes(), type=_NamesBundle).bundle
        except (OSError, msgspec.DecodeError) as error:
            raise NotDone(f"recipe {pair.recipe[:12]}: its bytes cannot be read; publish it again") from error
        if named != pair.bundle:
            raise NotDone(f"recipe {pair.recipe[:12]} is for bundle {named[:12]}; name the two that belong together")

    def _named(self, head: str) -> list[str]:
        paths = (path for path in self.builder.documents() if path.startswith(head))
        return [path.removeprefix(head).removesuffix(".json") for path in paths]

    def stage(self, documents: Mapping[str, Document], now: datetime) -> None:
        """Stage documents under allowlists/ for the next `publish`."""
        self.builder.set_documents({path: encode(content) for path, content in documents.items()}, now)


def journal_of(path: Path) -> Path | None:
    """Return the folder if a fleet is there: what is made outside of one goes into no journal."""
    return path if (path / FLEET_DOCUMENT).exists() else None


class Pins:
    """Where each person's PIN comes from: a file or descriptor that the command line names, else the terminal."""

    def __init__(self, given: Iterable[str] = ()) -> None:
        """Args: given: `NAME=FILE` or `NAME=fd:N`, as --pin has them; without NAME= it is everybody's.

        Raises:
            NotDone: not of that form.
        """
        self._from: dict[str, AskPin] = {}
        for one in given:
            name, named, place = one.rpartition("=")
            if not place or (named and not name):
                raise NotDone(f"--pin {one}: write NAME=FILE or NAME=fd:N; the PIN itself never stands there")
            number = place.removeprefix("fd:")
            self._from[name] = pin_from(int(number) if place.startswith("fd:") and number.isdecimal() else Path(place))

    def of(self, name: str) -> AskPin:
        """Return what gives the PIN of a person."""
        return self._from.get(name) or self._from.get("") or (lambda: _asked(name))


def _asked(name: str) -> str:
    tell(f"{name}: put your token in and type its PIN")
    return pin_at_terminal()


def open_key(uri: str, module: str, name: str, pins: Pins) -> Signatory:
    """Open the key at an address for a person.

    Raises:
        KeyUnusable: it cannot be opened.
    """
    return open_signer(uri, module=Path(module) if module else None, ask_pin=pins.of(name))


def open_member(fleet: Fleet, person: Member, pins: Pins) -> Signatory:
    """Open a person's key and see that it is the one on record.

    Raises:
        KeyUnusable: it cannot be opened.
        NotDone: another key lies at its address.
    """
    opened = open_key(person.key, fleet.module, person.name, pins)
    if opened.key_id != person.key_id:
        raise NotDone(f"{person.key}: is not {person.name}'s key of {FLEET_DOCUMENT}; put the right token in")
    return opened
