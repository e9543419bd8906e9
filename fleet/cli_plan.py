"""Leaf of `linewarden-fleet` with which QA approves what devices built: plan approve."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet.cli_build import add_signer, signer_of
from fleet.errors import NotDone
from fleet.folder import Folder
from fleet.plans import read_asked, sign_plan_approval
from fleet.signatures import Words
from fleet.steps import add_asking, perform, why
from signing.durable import write_durably
from signing.trust import Role

SUFFIX = ".plan-approval"


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaf to the tree."""
    family = commands.add_parser("plan", help="plans that devices built of bundles").add_subparsers(
        required=True, metavar="COMMAND"
    )
    parser = family.add_parser("approve", help="see what devices built of one bundle, and sign that it may inspect")
    parser.add_argument("request", type=Path, nargs="+", metavar="REQUEST", help="as `bundle plans --request` wrote it")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="the bundle they were built of")
    parser.add_argument("--role", type=Role, choices=(Role.QA,), default=Role.QA, help="for what you answer")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"for REQUEST{SUFFIX} (default: beside each request)")
    add_signer(parser)
    add_asking(parser)
    parser.set_defaults(run=_approve, command="plan approve")


def _approve(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    asked = {path: read_asked(path, parsed.bundle) for path in parsed.request}
    outs = {path: (parsed.out or path.parent) / f"{path.stem}{SUFFIX}" for path in asked}
    if len(set(outs.values())) < len(outs):
        raise NotDone("two requests have one name, and so would their approvals: sign one after the other")
    for out in outs.values():
        if out.exists():
            raise NotDone(f"{out}: is there already; name another folder with --out")
    signatory = signer_of(parsed, folder)
    person = folder.read_trust().person(Role.QA, signatory.key_id, "the approval")
    parsed.reason = why(parsed.reason)
    words = Words(person.name, "plan approval", parsed.reason)

    def do() -> dict[str, Any]:
        for path, one in asked.items():
            write_durably(outs[path], sign_plan_approval(one, signatory, words, datetime.now(UTC)))
        return {"approval": [str(out) for out in outs.values()]}

    changes = [line for one in asked.values() for line in one.shown]
    digest = next(iter(asked.values())).request.bundle
    return perform(parsed, folder.path, [*changes, f"sign that as {person.name}, because: {parsed.reason}"], do, digest)
