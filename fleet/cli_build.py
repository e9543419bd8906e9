"""Leaves of `linewarden-fleet` that make what people sign, and have it signed: bundle, recipe, sign, order."""

import argparse
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet.cli_setup import KEY_HELP, add_pins
from fleet.errors import NotDone
from fleet.folder import Folder, Pins, journal_of, open_key
from fleet.people import Signatory
from fleet.signatures import Words, sign_directory, sign_swap_order
from fleet.specs import bundle_spec, read_spec
from fleet.steps import add_asking, add_fleet, perform, why
from provisioning.unsigned import build_bundle, build_recipe
from signing.durable import write_durably
from signing.index import Kind
from signing.trust import Role

MEANINGS = {Role.QA: "approved for use in production", Role.RELEASE: "released for delivery to lines"}


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    for kind, run in ((Kind.BUNDLE, _bundle), (Kind.RECIPE, _recipe)):
        family = commands.add_parser(kind.value, help=f"build a {kind}").add_subparsers(
            required=True, metavar="COMMAND"
        )
        build = family.add_parser("build", help=f"build an unsigned {kind} from a TOML file and its sources")
        build.add_argument("spec", type=Path, metavar="SPEC.toml", help="see docs/operations/fleet.md")
        build.add_argument("out", type=Path, metavar="OUT", help="a new folder")
        if kind is Kind.RECIPE:
            build.add_argument("--bundle", type=Path, metavar="DIR", help="its bundle (default: as SPEC says)")
        add_fleet(build)
        add_asking(build, reason=False)
        build.set_defaults(run=run, command=f"{kind} build")
    _add_sign(commands.add_parser("sign", help="sign a bundle or recipe as one person, with approval"))
    order = commands.add_parser("order", help="orders for one line").add_subparsers(required=True, metavar="COMMAND")
    _add_swap(order.add_parser("swap", help="QA's order to change bundle and recipe inside one open batch"))


def add_signer(parser: argparse.ArgumentParser) -> None:
    """Add with which key somebody signs: a person of the fleet, or a key by its address."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--as", dest="person", default="", metavar="NAME", help="a person of the fleet")
    who.add_argument("--key", default="", metavar="KEY", help=KEY_HELP)
    parser.add_argument("--module", default="", metavar="FILE", help="PKCS#11 library (default: the fleet's)")
    add_pins(parser)
    add_fleet(parser)


def signer_of(parsed: argparse.Namespace, folder: Folder) -> Signatory:
    """Open the key that the command line names.

    Raises:
        KeyUnusable: it cannot be opened.
        NotDone: there is nobody of that name.
    """
    fleet = folder.read()
    uri = fleet.person(parsed.person).key if parsed.person else parsed.key
    return open_key(uri, parsed.module or fleet.module, parsed.person or uri, Pins(parsed.pin))


def _add_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, nargs="+", metavar="DIR", help="bundles and recipes")
    parser.add_argument("--role", type=Role, choices=tuple(Role), required=True, help="for what you answer")
    parser.add_argument("--meaning", default="", metavar="TEXT", help="what the signature means (default: by role)")
    add_signer(parser)
    add_asking(parser)
    parser.set_defaults(run=_sign, command="sign")


def _add_swap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="file for the order")
    parser.add_argument("--batch", required=True, metavar="BATCH", help="the open batch, as the line names it")
    parser.add_argument("--bundle", required=True, metavar="DIGEST", help="bundle for the rest of the batch")
    parser.add_argument("--recipe", required=True, metavar="DIGEST", help="recipe for the rest of the batch")
    add_signer(parser)
    add_asking(parser)
    parser.set_defaults(run=_swap, command="order swap")


def _bundle(parsed: argparse.Namespace) -> int:
    description, sources = bundle_spec(parsed.spec)
    what = f"build bundle {description.get('name')} {description.get('version')} of {len(sources)} files"

    def do() -> dict[str, Any]:
        return {"bundle": str(parsed.out), "digest": build_bundle(description, sources, parsed.out)}

    return perform(parsed, journal_of(parsed.fleet), [f"{what} in {parsed.out}"], do)


def _recipe(parsed: argparse.Namespace) -> int:
    description = read_spec(parsed.spec)
    if parsed.bundle:
        description["bundle"] = hashlib.sha256((parsed.bundle / Kind.BUNDLE.document).read_bytes()).hexdigest()
    what = f"build recipe {description.get('name')} {description.get('version')}"
    bundle = str(description.get("bundle", ""))

    def do() -> dict[str, Any]:
        return {"recipe": str(parsed.out), "digest": build_recipe(description, parsed.out)}

    return perform(parsed, journal_of(parsed.fleet), [f"{what} for bundle {bundle[:12]} in {parsed.out}"], do)


def _sign(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    signatory = signer_of(parsed, folder)
    person = folder.read_trust().person(parsed.role, signatory.key_id, f"signing as {parsed.role}")
    parsed.reason = why(parsed.reason)
    words = Words(person.name, parsed.meaning or MEANINGS[parsed.role], parsed.reason)
    said = f'as {person.name}, role {parsed.role}: "{words.meaning}", because: {words.reason}'
    changes = [f"sign {directory} {said}" for directory in parsed.directory]

    def do() -> dict[str, Any]:
        for directory in parsed.directory:
            sign_directory(directory, parsed.role, signatory.signer, words, datetime.now(UTC))
        return {"signed": [f"{directory} as {parsed.role} by {person.name}" for directory in parsed.directory]}

    return perform(parsed, folder.path, changes, do)


def _swap(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    bundle = folder.digest(Kind.BUNDLE, parsed.bundle)
    recipe = folder.digest(Kind.RECIPE, parsed.recipe)
    signatory = signer_of(parsed, folder)
    person = folder.read_trust().person(Role.QA, signatory.key_id, "the order")
    if parsed.out.exists():
        raise NotDone(f"{parsed.out}: is there already; name another file")
    parsed.reason = why(parsed.reason)
    words = Words(person.name, "swap order", parsed.reason)

    def do() -> dict[str, Any]:
        raw = sign_swap_order(parsed.batch, (bundle, recipe), signatory.signer, words, datetime.now(UTC))
        write_durably(parsed.out, raw)
        return {"order": str(parsed.out)}

    change = f"order bundle {bundle[:12]} and recipe {recipe[:12]} for the rest of batch {parsed.batch}"
    return perform(parsed, folder.path, [f"{change}, as {person.name}"], do, bundle)
