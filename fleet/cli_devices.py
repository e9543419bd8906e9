"""Leaves of `linewarden-fleet` about devices: token, ca, status."""

import argparse
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Console

from fleet import fleet_status
from fleet.authority import CERTIFICATE, SmallAuthority, found_authority, open_authority
from fleet.authority_server import LOOPBACK, AuthorityServer
from fleet.cli_setup import add_pins
from fleet.errors import NotDone
from fleet.fleet_status import Refused, Reported
from fleet.folder import Folder, Pins, open_member
from fleet.steps import add_asking, add_fleet, add_json, perform, show, why
from fleet.tokens import LONGEST, Wanted, make_token
from signing import status_note
from signing.device_status import read_device_status
from signing.durable import SECRET, write_durably
from signing.permission import What
from signing.trust import Role

WIDE = 200
MOST_HOURS = LONGEST / timedelta(hours=1)


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    _add_token(commands.add_parser("token", help="let one device in, once: signed by two people"))
    family = commands.add_parser("ca", help="a small certificate authority, for tests and small sites")
    _add_ca(family.add_subparsers(required=True, metavar="COMMAND"))
    status = commands.add_parser("status", help="all lines: what runs, qualification, spool, by signed device statuses")
    add_statuses(status)
    add_fleet(status)
    add_json(status)
    status.set_defaults(run=_status, command="status")


def add_statuses(parser: argparse.ArgumentParser) -> None:
    """Add where the devices' signed statuses lie and who certified the devices."""
    parser.add_argument("statuses", type=Path, metavar="STATUSES", help="folder into which devices put their status")
    parser.add_argument(
        "--authority", type=Path, action="append", default=[], metavar="FILE", help="certificates that devices have"
    )
    parser.add_argument("--stale", type=float, default=60.0, metavar="MIN", help="age of old news (default 60 min)")


def statuses_of(parsed: argparse.Namespace, folder: Folder) -> tuple[list[Reported], list[Refused]]:
    """Read the statuses that `add_statuses` names.

    Raises:
        NotDone: the folder or a certificate cannot be read.
    """
    files = parsed.authority or [folder.authority / CERTIFICATE]
    authorities = [certificate for file in files for certificate in _certificates(file)]
    now = datetime.now(UTC)

    def verify(raw: bytes, where: str) -> Reported:
        signed = status_note.verify(raw, authorities, now, where)
        found = read_device_status(dict(signed.status), where)
        if (found.device, found.line) != (signed.subject.device, signed.subject.line):
            raise status_note.StatusRefused(f"{where}: {signed.subject.device} says it is {found.device}")
        return Reported(signed.subject.id, found)

    return fleet_status.read_folder(parsed.statuses, verify)


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion) as error:
        raise NotDone(f"{file}: no certificates: {error}; name those of your authority with --authority") from error


def _add_token(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEVICE", help="the name the device will have")
    parser.add_argument("--line", required=True, metavar="LINE", help="the line it inspects")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="secret: give it to one person, once")
    parser.add_argument("--identity", default="", metavar="ID", help="only this device id may use it")
    parser.add_argument("--hours", type=_hours, default=24.0, metavar="H", help="how long it is good (default 24)")
    parser.add_argument("--qa", default="", metavar="NAME", help="who signs as qa (default: the first)")
    parser.add_argument("--release", default="", metavar="NAME", help="who signs as release (default: the first other)")
    add_fleet(parser)
    add_pins(parser)
    add_asking(parser)
    parser.set_defaults(run=_token, command="token")


def _add_ca(commands: "argparse._SubParsersAction[Any]") -> None:
    init = commands.add_parser("init", help="found the authority in the fleet's folder")
    init.add_argument("--name", default="Linewarden devices", metavar="TEXT")
    add_fleet(init)
    add_asking(init, reason=False)
    init.set_defaults(run=_ca_init, command="ca init")
    serve = commands.add_parser("serve", help="serve it over HTTPS until Ctrl-C")
    serve.add_argument("--host", default=LOOPBACK, metavar="HOST", help=f"name or address (default {LOOPBACK})")
    serve.add_argument("--port", type=int, default=0, metavar="PORT", help="default: a free one")
    add_fleet(serve)
    serve.set_defaults(run=_ca_serve, command="ca serve")
    issue = commands.add_parser("issue", help="certify a device that has no network, from its request and token")
    issue.add_argument("request", type=Path, metavar="REQUEST", help="its PKCS#10 request, DER")
    issue.add_argument("--token", type=Path, required=True, metavar="FILE")
    issue.add_argument("--out", type=Path, required=True, metavar="FILE", help="certificate, PEM")
    add_fleet(issue)
    add_asking(issue, reason=False)
    issue.set_defaults(run=_ca_issue, command="ca issue")
    every = commands.add_parser("list", help="the devices that have a certificate")
    add_fleet(every)
    add_json(every)
    every.set_defaults(run=_ca_list, command="ca list")


def _token(parsed: argparse.Namespace) -> int:
    folder, pins = Folder(parsed.fleet), Pins(parsed.pin)
    fleet = folder.read()
    quality = fleet.person(parsed.qa) if parsed.qa else fleet.having(Role.QA)[0]
    others = [person for person in fleet.having(Role.RELEASE) if person is not quality]
    release = fleet.person(parsed.release) if parsed.release else others[0]
    parsed.reason = why(parsed.reason)
    wanted = Wanted(parsed.device, parsed.line, parsed.reason, parsed.identity, timedelta(hours=parsed.hours))
    if parsed.out.exists():
        raise NotDone(f"{parsed.out}: is there already; name another file")

    def do() -> dict[str, Any]:
        people = {Role.QA: quality, Role.RELEASE: release}
        signers = {role: open_member(fleet, person, pins) for role, person in people.items()}
        write_durably(parsed.out, make_token(wanted, signers, folder.read_trust(), datetime.now(UTC)), SECRET)
        return {"token": str(parsed.out), "signed": [quality.name, release.name]}

    change = f"let one device in as {parsed.device} on {parsed.line} within {parsed.hours:g} h"
    return perform(parsed, folder.path, [f"{change}, signed by {quality.name} and {release.name}"], do)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0.0 < hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours up to {MOST_HOURS:g}")
    return hours


def _ca_init(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    folder.read()

    def do() -> dict[str, Any]:
        found_authority(folder.authority, parsed.name, datetime.now(UTC))
        return {"authority": str(folder.authority / CERTIFICATE)}

    return perform(parsed, folder.path, [f"found the authority '{parsed.name}' in {folder.authority}"], do)


def _authority(folder: Folder) -> SmallAuthority:
    return open_authority(folder.authority, folder.trust)


def _ca_serve(parsed: argparse.Namespace) -> int:
    with (
        closing(_authority(Folder(parsed.fleet))) as authority,
        AuthorityServer(authority, parsed.host, parsed.port) as server,
    ):
        print(server.url, flush=True)
        server.serve_forever()
    return 0


def _ca_issue(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    request, token = parsed.request.read_bytes(), parsed.token.read_bytes()

    def do() -> dict[str, Any]:
        with closing(_authority(folder)) as authority:
            made = authority.enrol(request, token)
        write_durably(parsed.out, made.public_bytes(Encoding.PEM))
        return {"certificate": str(parsed.out)}

    return perform(parsed, folder.path, [f"certify the key in {parsed.request} for the device of {parsed.token}"], do)


def _ca_list(parsed: argparse.Namespace) -> int:
    with closing(_authority(Folder(parsed.fleet))) as authority:
        found = {issued.device_id: issued for issued in authority.books.identities()}
        gone = {entry.device_id: entry for entry in authority.books.revoked()}
    if parsed.json:
        devices = [{"id": name, "device": one.device, "line": one.line} for name, one in found.items()]
        show(parsed, {"devices": [{**one, "revoked": one["id"] in gone} for one in devices]})
        return 0
    for name, one in found.items():
        print(f"{one.device:<20} {one.line:<20} {name}" + (f"  revoked: {gone[name].reason}" if name in gone else ""))
    return 0


def _status(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    reported, refused = statuses_of(parsed, folder)
    lines = {line: folder.allowlist(line) for line in folder.lines()}
    gone = folder.revoked().ids(What.DEVICE)
    rows = fleet_status.rows(reported, refused, lines, gone, datetime.now(UTC), parsed.stale * 60)
    if parsed.json:
        show(parsed, {"devices": fleet_status.documents(rows)})
        return 0
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    console.print(fleet_status.table(rows))
    return 0
