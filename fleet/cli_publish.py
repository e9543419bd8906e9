"""Leaves of `linewarden-fleet` that change what devices may read: publish, export-usb, revoke, show."""

import argparse
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleet import publishing, staged
from fleet.authority import CERTIFICATE, open_authority
from fleet.cli_setup import KEY_HELP, add_pins
from fleet.errors import NotDone
from fleet.folder import Fleet, Folder, Pins
from fleet.repository_usb import export_usb
from fleet.steps import add_asking, add_fleet, add_json, perform, show, tell, why
from signing.floor import Versions
from signing.identity import DeviceId
from signing.index import Kind
from signing.permission import Revocation, What
from signing.revocation_request import read_revocation_request
from signing.trust import Role
from signing.utc import utc_text

STICK_DAYS = 90
ID_LENGTH = 64
LONGEST_STICK_DAYS = 365


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    _add_publish(commands.add_parser("publish", help="have two people sign what is staged, and make it public"))
    _add_export(commands.add_parser("export-usb", help="write what lines without a network need to a stick"))
    _add_revoke(commands.add_parser("revoke", help="take back a bundle, a recipe, a key or a device"))
    shown = commands.add_parser("show", help="what is published, what is staged and whose signature it lacks")
    add_fleet(shown)
    add_json(shown)
    shown.set_defaults(run=_show)


def by_of(parsed: argparse.Namespace, fleet: Fleet) -> str:
    """Return who answers for an act: the person named, else the first of role qa.

    Raises:
        NotDone: there is nobody of that name.
    """
    return fleet.person(parsed.by).name if parsed.by else fleet.having(Role.QA)[0].name


def add_by(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", default="", metavar="NAME", help="who answers for it (default: the first of role qa)")


def _add_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, nargs="*", metavar="DIR", help="signed bundles and recipes to add")
    parser.add_argument(
        "--as", dest="people", action="append", default=[], metavar="NAME", help="who signs now (default: who must)"
    )
    parser.add_argument("--key", action="append", default=[], metavar="KEY", help=f"a further key: {KEY_HELP}")
    parser.add_argument("--timestamp", action="store_true", help="only sign the timestamp again, without people")
    add_fleet(parser)
    add_pins(parser)
    add_asking(parser, reason=False)
    parser.set_defaults(run=_publish, command="publish")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stick", type=Path, metavar="OUT", help="folder, for example the stick's")
    parser.add_argument("--line", action="append", default=[], metavar="LINE", help="for these lines (default: all)")
    parser.add_argument("--days", type=int, default=STICK_DAYS, help=f"how long it is good (default {STICK_DAYS})")
    add_fleet(parser)
    add_asking(parser, reason=False)
    parser.set_defaults(run=_export, command="export-usb")


def _add_revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=tuple(What), type=What, help="what is taken back")
    parser.add_argument("id", metavar="ID", help="digest (8 characters do), key or device id, or a site's request")
    add_by(parser)
    add_fleet(parser)
    add_asking(parser)
    parser.set_defaults(run=_revoke, command="revoke")


def _publish(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    fleet = folder.read()
    if parsed.timestamp:
        return perform(parsed, folder.path, ["sign the timestamp again"], lambda: _renewed(folder, fleet))
    trust = folder.read_trust()
    signed = [publishing.read_signed(directory, trust) for directory in parsed.directory]
    changes = [f"publish {one.kind} {one.name} {one.version}, {one.digest[:12]}" for one in signed]
    changes += staged.changes(folder)
    if not changes:
        raise NotDone("nothing is staged: name signed directories, or stage a change first")

    def do() -> dict[str, Any]:
        publishing.stage(folder, signed, _now())
        roles = publishing.collect(folder, fleet, parsed.people, parsed.key, Pins(parsed.pin))
        said: dict[str, Any] = {"signed": [f"{', '.join(found)} by {name}" for name, found in roles.items()]}
        waiting = folder.builder.waiting()
        if waiting:
            return {**said, "not_published": [one.text() for one in waiting]}
        return {**said, "published": _versions(publishing.make_public(folder, fleet, _now()))}

    return perform(parsed, folder.path, changes, do, signed[0].digest if signed else "")


def _renewed(folder: Folder, fleet: Fleet) -> dict[str, Any]:
    return {"published": _versions(publishing.renew_timestamp(folder, fleet, _now()))}


def _export(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    fleet = folder.read()
    lines = parsed.line or folder.lines()
    if not lines or not 1 <= parsed.days <= LONGEST_STICK_DAYS:
        raise NotDone(f"name a line that has an allow-list, and 1 to {LONGEST_STICK_DAYS} days")
    change = f"write what {', '.join(lines)} may take to {parsed.stick}, good for {parsed.days} days"

    def do() -> dict[str, Any]:
        online = publishing.online_of(fleet)
        made = export_usb(folder.builder, parsed.stick, lines, online, _now(), timedelta(days=parsed.days))
        found = {"stick": str(parsed.stick), "until": utc_text(made.until), "documents": list(made.documents)}
        return {**found, **({"absent": list(made.absent)} if made.absent else {}), "bytes": made.size}

    parsed.stick.mkdir(parents=True, exist_ok=True)
    return perform(parsed, folder.path, [change], do)


def _revoke(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    fleet, now = folder.read(), _now()
    kind = Kind(parsed.what) if parsed.what in (What.BUNDLE, What.RECIPE) else None
    name = folder.digest(kind, parsed.id) if kind else _whole(parsed.what, parsed.id)
    parsed.reason = why(parsed.reason)
    entry = Revocation(parsed.what, name, parsed.reason, by_of(parsed, fleet), utc_text(now))
    changes = [f"revoke {entry.what} {name[:12]}, answered for by {entry.by}: {entry.reason}"]

    def do() -> dict[str, Any]:
        said: dict[str, Any] = {"staged": f"revocation of {entry.what} {name}"}
        if kind:
            hit = publishing.revoke_content(folder, kind, entry, now)
            said["nothing_activates_there_now"] = hit
        elif entry.what is What.KEY:
            publishing.revoke_key(folder, fleet, entry, now)
        else:
            publishing.revoke_device(folder, entry, now)
            _tell_authority(folder, DeviceId(name), entry)
        return {**said, "next": "publish, signed by two people"}

    return perform(parsed, folder.path, changes, do, name)


def _whole(what: What, name: str) -> str:
    """Return an id, or that in a request which a site sent."""
    if what is What.DEVICE and Path(name).is_file():
        asked = read_revocation_request(Path(name).read_bytes(), name)
        tell(f"{asked.by} asked on {asked.utc} that {asked.device} be revoked: {asked.reason}")
        return asked.id
    if len(name) != ID_LENGTH:
        raise NotDone(f"{name}: give the whole id of {ID_LENGTH} characters (see key list, ca list)")
    return name


def _tell_authority(folder: Folder, device: DeviceId, entry: Revocation) -> None:
    if not (folder.authority / CERTIFICATE).exists():
        return
    with closing(open_authority(folder.authority, folder.trust)) as authority:
        authority.revoke(device, entry.reason, entry.by)


def _show(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    fleet, builder = folder.read(), folder.builder
    said: dict[str, Any] = {"fleet": fleet.name}
    if builder.files.timestamp():
        said["published"] = _versions(builder.versions())
    for kind in Kind:
        said[f"{kind}s"] = [_named(folder, kind, digest) for digest in folder.digests(kind)]
    said["lines"] = [_line(folder, line) for line in folder.lines()]
    said["rollouts"] = [staged.rollout_text(one) for one in folder.rollouts().rollouts]
    said["revoked"] = [f"{one.what} {one.id[:12]} by {one.by}: {one.reason}" for one in folder.revoked().entries]
    said["staged"] = staged.changes(folder)
    said["waiting"] = [one.text() for one in builder.waiting()]
    show(parsed, said)
    return 0


def _named(folder: Folder, kind: Kind, digest: str) -> str:
    index = folder.index(kind, digest)
    return f"{index.name} {index.version} {digest}"


def _line(folder: Folder, line: str) -> str:
    listed = folder.allowlist(line)
    counts = f"may take {len(listed.bundles)} bundles and {len(listed.recipes)} recipes"
    return f"{line}: {counts}, is to {staged.activation_text(listed.activate)}"


def _versions(found: Versions) -> str:
    return f"root {found.root}, timestamp {found.timestamp}, snapshot {found.snapshot}"


def _now() -> datetime:
    return datetime.now(UTC)
