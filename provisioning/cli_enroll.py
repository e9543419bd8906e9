"""Leaf of `linewarden` that gives a device its identity: enroll."""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from provisioning import enroll, places
from provisioning.enroll import STDIN, Device, EnrolFailed, Papers, Way
from provisioning.lineacts import ROLE, add_reason, person, why
from provisioning.restore import Person
from signing.enrolment_token import claims_of

DONE = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """An enrolment that was asked for and checked; `lines` say what it will do."""

    way: Way
    papers: Papers
    token: bytes = field(repr=False)
    lines: list[str]


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaf to the tree."""
    parser = commands.add_parser("enroll", help="give this device an identity and its first trust")
    how = add_papers(parser)
    how.add_argument("--request-to", type=Path, metavar="FILE", help="only write the request to carry to the authority")
    parser.add_argument("--again", action="store_true", help="this device is enrolled already: enrol it anew")
    add_place(parser)
    add_reason(parser)
    add_asking(parser)
    parser.set_defaults(run=_enroll)


def add_papers(parser: argparse.ArgumentParser) -> "argparse._MutuallyExclusiveGroup":
    """Add the options that say where the certificate comes from and what is brought; return the group of the ways."""
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--authority", default="", metavar="URL", help="ask this authority for the certificate")
    how.add_argument("--certificate", type=Path, metavar="FILE", help="the certificate, brought from the authority")
    parser.add_argument("--anchor", type=Path, metavar="FILE", help="the authority's own certificate")
    parser.add_argument("--token-file", default="", metavar="FILE", help="the token of two people; - = standard input")
    parser.add_argument("--root", type=Path, metavar="FILE", help="the fleet's first root.json")
    parser.add_argument("--trust", type=Path, metavar="FILE", help="the fleet's trust.json")
    parser.add_argument("--repository", type=Path, metavar="DIR", help="stick with the newest metadata")
    return how


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the device."""
    parser.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the device's here)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder (default: the installed device's)")


def add_asking(parser: argparse.ArgumentParser) -> None:
    """Add the options of an act that shows what it will do first."""
    parser.add_argument("--yes", action="store_true", help="do not ask again")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def device_of(parsed: argparse.Namespace) -> Device:
    """Return the device that the arguments name.

    Raises:
        PlaceError, ConfigError, EnrolFailed: there is none.
    """
    state = parsed.state or places.INSTALLED_STATE
    return enroll.device_at(places.find_station(parsed.station), state.absolute())


def confirm(lines: list[str], *, sure: bool, quiet: bool) -> None:
    """Show what will be done and ask.

    Raises:
        EnrolFailed: the person said no, or nobody is there.
    """
    console = Console(stderr=quiet)
    for number, line in enumerate(lines, 1):
        console.print(f"{number}. {line}", highlight=False, markup=False, soft_wrap=True)
    if sure:
        return
    if not sys.stdin.isatty():
        raise EnrolFailed("nobody is there to confirm it: add --yes")
    if console.input("Do that? yes/no ").strip() != "yes":
        raise EnrolFailed("nothing was changed")


def _enroll(parsed: argparse.Namespace) -> int:
    device, console = device_of(parsed), Console()
    if parsed.request_to is not None:
        subject = enroll.write_request(device, parsed.request_to)
        text = f"{parsed.request_to}: request of {subject.device} on {subject.line}, device {subject.id}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return DONE
    asked = asked_for(parsed, device, again=parsed.again)
    who = Person(person(), ROLE, why(parsed.reason, console))
    confirm(asked.lines, sure=parsed.yes, quiet=parsed.json)
    perform(parsed, device, asked, who)
    return DONE


def asked_for(parsed: argparse.Namespace, device: Device, *, again: bool) -> Asked:
    """Read and check everything that was brought.

    Raises:
        EnrolFailed, SigningError: something is missing or not what it should be.
    """
    if parsed.anchor is None:
        raise EnrolFailed("bring the authority's own certificate: --anchor FILE")
    if parsed.token_file == STDIN and not parsed.yes:
        raise EnrolFailed("the token comes from standard input, so nobody can be asked there: add --yes")
    way = Way(parsed.authority, parsed.certificate, parsed.repository, again)
    papers = enroll.read_papers(device, parsed.anchor, parsed.root, parsed.trust)
    token = enroll.read_token(parsed.token_file) if parsed.token_file else b""
    return Asked(way, papers, token, enroll.plan(device, papers, way, claims_of(token) if token else None))


def perform(parsed: argparse.Namespace, device: Device, asked: Asked, who: Person) -> None:
    """Enrol and say so.

    Raises:
        EnrolFailed, SigningError: as enroll.enrol.
    """
    record = enroll.enrol(device, asked.papers, asked.way, asked.token, who)
    if parsed.json:
        print(json.dumps(msgspec.to_builtins(record), indent=2))
        return
    text = f"enrolled: {record.device} on {record.line}, device {record.id}, floor: {record.floor}"
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
