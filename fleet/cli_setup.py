"""Leaves of `linewarden-fleet` that found a fleet and look after its people's keys: init, key, rotate-root."""

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fleet.errors import NotDone
from fleet.folder import FLEET_DOCUMENT, Fleet, Folder, Member, Pins, journal_of, open_key
from fleet.founding import (
    FILE_URI,
    ONLINE,
    PeopleFile,
    absolute,
    found,
    keyholder,
    member,
    opened,
    read_people,
    trust_of,
)
from fleet.people import token_address
from fleet.steps import add_asking, add_fleet, add_json, perform, show
from fleet.token_keys import make_token_key
from signing.durable import write_durably
from signing.key_file import make_development_key
from signing.keyring import STORE_DOCUMENT
from signing.trust import Role

KEY_HELP = "file:PATH (development) or pkcs11:token=LABEL;id=%%02"


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    _add_init(commands.add_parser("init", help="found a fleet: people, their duties, the first version of every role"))
    _add_key(commands.add_parser("key", help="keys of people").add_subparsers(required=True, metavar="COMMAND"))
    _add_rotate(commands.add_parser("rotate-root", help="give a person another key wherever the old one stood"))


def add_pins(parser: argparse.ArgumentParser) -> None:
    """Add where PINs come from."""
    parser.add_argument(
        "--pin",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="read a PIN from a file, or from a descriptor as fd:N (default: asked for at the terminal)",
    )


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--name", default="fleet", metavar="TEXT", help="what the fleet is called")
    parser.add_argument("--people", type=Path, metavar="FILE.toml", help="who publishes")
    parser.add_argument("--person", action="append", default=[], metavar="NAME,DUTIES,KEY", help=KEY_HELP)
    parser.add_argument("--module", default="", metavar="FILE", help="PKCS#11 library of the tokens")
    parser.add_argument("--production", action="store_true", help="no key of a person may be a file")
    parser.add_argument("--bins", type=int, default=0, metavar="N", help="2^N hash bins, for thousands of bundles")
    add_pins(parser)
    add_asking(parser, reason=False)
    parser.set_defaults(run=_init, command="init")


def _add_key(commands: "argparse._SubParsersAction[Any]") -> None:
    new = commands.add_parser("new", help="make a key: a PEM file for development, or inside a token")
    new.add_argument("key", metavar="KEY", help=KEY_HELP)
    new.add_argument("--module", type=Path, metavar="FILE", help="PKCS#11 library of the token")
    add_fleet(new)
    add_pins(new)
    add_asking(new, reason=False)
    new.set_defaults(run=_key_new, command="key new")
    one = commands.add_parser("show", help="key id and public half of a key")
    one.add_argument("key", metavar="KEY", help=f"{KEY_HELP}, or a person's name")
    one.add_argument("--module", default="", metavar="FILE", help="PKCS#11 library of the token")
    one.add_argument("--pem", action="store_true", help="only the public half, as a PEM file")
    add_fleet(one)
    add_pins(one)
    add_json(one)
    one.set_defaults(run=_key_show, command="key show")
    every = commands.add_parser("list", help="the people of the fleet and their keys")
    add_fleet(every)
    add_json(every)
    every.set_defaults(run=_key_list, command="key list")


def _add_rotate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("person", metavar="NAME", help="whose key is replaced")
    parser.add_argument("--key", required=True, metavar="KEY", help=f"the new key: {KEY_HELP}")
    parser.add_argument("--to", default="", metavar="NAME", help="give the duties to this person instead")
    add_fleet(parser)
    add_pins(parser)
    add_asking(parser)
    parser.set_defaults(run=_rotate, command="rotate-root")


def _init(parsed: argparse.Namespace) -> int:
    given = read_people(parsed.people) if parsed.people else PeopleFile(())
    people = (*given.person, *(member(text) for text in parsed.person))
    module = parsed.module or given.module
    files = [person.name for person in people if person.key.startswith(FILE_URI)]
    if parsed.production and files:
        raise NotDone(f"{files[0]}'s key is a file: in production people's keys are in tokens, name them pkcs11:...")
    folder = Folder(parsed.folder)
    if (folder.path / FLEET_DOCUMENT).exists():
        raise NotDone(f"{folder.path}: there is a fleet already; name a new folder")
    people = opened(people, module, Pins(parsed.pin))
    online = FILE_URI + str((folder.path / ONLINE).resolve())
    fleet = Fleet(1, parsed.name, bool(files), people, online, module)
    changes = [f"found fleet '{fleet.name}' in {folder.path}{' with development keys' * fleet.development}"]
    changes += [f"give {person.name} {', '.join(person.duties)} with key {person.key_id[:12]}" for person in people]

    def do() -> dict[str, Any]:
        found(folder, fleet, parsed.bins, _now())
        return {"founded": str(folder.path), "trust": str(folder.trust), "next": "publish, signed by two people"}

    folder.path.mkdir(parents=True, exist_ok=True)
    return perform(parsed, folder.path, changes, do)


def _key_new(parsed: argparse.Namespace) -> int:
    kind, _, rest = parsed.key.partition(":")
    if kind == "file" and rest:
        return _new_file(parsed, Path(rest))
    if kind != "pkcs11" or parsed.module is None:
        raise NotDone("write file:PATH, or pkcs11:token=LABEL;id=%02 and --module FILE")
    label, number, name = token_address(parsed.key, rest)
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")

    def do() -> dict[str, Any]:
        make_token_key(parsed.module, label, raw, name or label, Pins(parsed.pin).of(label))
        return _shown(parsed.key, str(parsed.module), Pins(parsed.pin))

    return perform(parsed, journal_of(parsed.fleet), [f"make a key with id {raw.hex()} inside token '{label}'"], do)


def _new_file(parsed: argparse.Namespace, path: Path) -> int:
    if os.path.lexists(path):
        raise NotDone(f"{path}: is there already; name another file")

    def do() -> dict[str, Any]:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_development_key(path)
        return _shown(parsed.key, "", Pins())

    return perform(parsed, journal_of(parsed.fleet), [f"make a development key in {path}"], do)


def _key_show(parsed: argparse.Namespace) -> int:
    if parsed.key.startswith((FILE_URI, "pkcs11:")):
        found = _shown(parsed.key, parsed.module, Pins(parsed.pin))
    else:
        found = _person(Folder(parsed.fleet).read().person(parsed.key))
    if parsed.pem:
        print(found["public"])
    else:
        show(parsed, found)
    return 0


def _shown(key: str, module: str, pins: Pins) -> dict[str, Any]:
    opened_key = open_key(key, module, key, pins)
    return {"key": key, "key_id": opened_key.key_id, "public": opened_key.public_pem.decode().rstrip()}


def _person(person: Member) -> dict[str, Any]:
    said = {"name": person.name, "duties": ", ".join(person.duties)}
    return {**said, "key": person.key, "key_id": person.key_id, "public": person.public.rstrip()}


def _key_list(parsed: argparse.Namespace) -> int:
    people = Folder(parsed.fleet).read().people
    if parsed.json:
        show(parsed, {"people": [_person(person) for person in people]})
        return 0
    widest = max(len(person.name) for person in people)
    for person in people:
        print(f"{person.name:<{widest}}  {person.key_id[:12]}  {', '.join(person.duties):<24}  {person.key}")
    return 0


def _rotate(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    fleet = folder.read()
    old = fleet.person(parsed.person)
    new = _opened(parsed, old, fleet)
    people = tuple(new if person is old else person for person in fleet.people)
    after = msgspec.structs.replace(fleet, people=people)
    files = new.key.startswith(FILE_URI)
    if files and not fleet.development:
        raise NotDone(f"{new.key}: is a file, and this fleet's people have tokens; name a key in a token")
    changes = [
        f"put {new.name}'s key {new.key_id[:12]} where {old.name}'s {old.key_id[:12]} stood",
        "have what the old key signed signed again: bundles and recipes with its signature are refused from then on",
    ]

    def do() -> dict[str, Any]:
        now, holder = _now(), keyholder(new)
        if {"root", "targets"} & set(old.duties):
            folder.builder.rotate_root(old.key_id, holder, now)
        if {Role.QA, Role.RELEASE} & set(old.duties):
            folder.builder.replace_person(old.key_id, holder, now)
            trust = trust_of(after)
            folder.builder.set_document(STORE_DOCUMENT, trust, now)
            write_durably(folder.trust, trust)
        folder.write(after)
        return {"staged": [waiting.text() for waiting in folder.builder.waiting()]}

    return perform(parsed, folder.path, changes, do, new.key_id)


def _opened(parsed: argparse.Namespace, old: Member, fleet: Fleet) -> Member:
    name = parsed.to or old.name
    key = open_key(parsed.key, fleet.module, name, Pins(parsed.pin))
    if key.key_id in {person.key_id for person in fleet.people}:
        raise NotDone(f"{parsed.key}: is {old.name}'s or another person's key already; make a new one with key new")
    return msgspec.structs.replace(old, name=name, key=absolute(parsed.key), public=key.public_pem.decode())


def _now() -> datetime:
    return datetime.now(UTC)
