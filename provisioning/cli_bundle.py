"""Leaves of `linewarden bundle` and `linewarden recipe`: what is in the store, what it is, and the acts on it."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.store_requests import What
from provisioning import bundle_view, bundles, cli_admission, lineacts, places
from provisioning.errors import CommandFailed
from provisioning.requests import ask, find_slots
from provisioning.whole_file import whole_file
from signing.index import Kind
from signing.plan_approval import MAX_PLAN_APPROVAL_BYTES
from signing.store import read_state


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `bundle` and `recipe` to the tree."""
    bundle = commands.add_parser("bundle", help="what judges: install, activate, pin, compare")
    families = bundle.add_subparsers(required=True)
    _add_common(families, Kind.BUNDLE)
    _add_plans(families)
    recipe = commands.add_parser("recipe", help="what a product needs: install, activate, compare; does it fit here?")
    leaves = recipe.add_subparsers(required=True)
    _add_common(leaves, Kind.RECIPE)
    cli_admission.add_to(
        leaves.add_parser("admit", help="does the recipe fit this machine in time? with the arithmetic")
    )


def _add_common(commands: "argparse._SubParsersAction[Any]", kind: Kind) -> None:
    verify = commands.add_parser("verify", help="check signatures, files and graphs, load nothing")
    verify.add_argument("directory", type=Path, metavar="DIR", help="a bundle or a recipe")
    verify.add_argument("--trust", type=Path, metavar="DIR", help="trust store (default: the demo's)")
    verify.add_argument("--production", action="store_true", help="refuse development keys, as a real device does")
    verify.add_argument("--golden", action="store_true", help="run its golden set as well")
    verify.set_defaults(run=_verify)
    listed = commands.add_parser("list", help=f"the {kind}s in this device's store")
    _device(listed, shows=True)
    listed.set_defaults(run=_list, kind=kind)
    show = commands.add_parser("show", help="who signed it and why, back to the training run")
    _subject(show)
    _device(show, shows=True)
    show.set_defaults(run=_show)
    diff = commands.add_parser("diff", help="what differs: models, thresholds, defect codes, people")
    for name in ("first", "second"):
        diff.add_argument(name, metavar=name.upper(), help="a folder, or what is installed, by digest or name")
    _device(diff, shows=True)
    diff.set_defaults(run=_diff)
    install = commands.add_parser("install", help="verify it, run its golden set and put it into the store")
    install.add_argument("directory", type=Path, metavar="DIR", help="a bundle or a recipe")
    _act(install, What.INSTALL)
    for what, told in (
        (What.ACTIVATE, "use it from the next batch on"),
        (What.PIN, "let nothing else be activated"),
        (What.UNPIN, "take the pin away"),
    ):
        parser = commands.add_parser(what.value, help=told)
        _subject(parser)
        _act(parser, what)
    _act(commands.add_parser("rollback", help="use the generation before this one again"), What.ROLLBACK)
    _act(commands.add_parser("collect", help="remove what nothing needs, and say what is kept and why"), What.COLLECT)


def _add_plans(commands: "argparse._SubParsersAction[Any]") -> None:
    shown = commands.add_parser("plans", help="what was built here of the bundles: how far off, signed by whom")
    shown.add_argument(
        "subject", nargs="?", default="", metavar="WHICH", help="with --request (default: what is active)"
    )
    shown.add_argument("--request", type=Path, metavar="FILE", help="write what QA has to sign into a new file")
    _device(shown, shows=True)
    shown.set_defaults(run=_plans)
    build = commands.add_parser("build-plans", help="build the plans that are missing, damaged or for another runtime")
    build.add_argument("subject", nargs="?", default="", metavar="WHICH", help="default: what is active and staged")
    _act(build, What.BUILD_PLANS)
    approve = commands.add_parser("approve-plan", help="hand in what QA signed: the plans it names may be loaded")
    approve.add_argument("approval", type=Path, metavar="FILE", help="as `linewarden-fleet plan approve` wrote it")
    _act(approve, What.APPROVE_PLAN)


def _subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="WHICH", help="digest (8 digits will do) or name of what is installed")
    parser.add_argument("--trust", type=Path, metavar="DIR", help="show it against this trust store")


def _device(parser: argparse.ArgumentParser, *, shows: bool) -> None:
    parser.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the device here)")
    if shows:
        parser.add_argument("--json", action="store_true", help="print it as JSON")


def _act(parser: argparse.ArgumentParser, what: What) -> None:
    _device(parser, shows=True)
    lineacts.add_reason(parser)
    parser.set_defaults(run=_do, what=what)


def _verify(parsed: argparse.Namespace) -> int:
    trust = parsed.trust or places.working() / "demo" / "trust"
    print(bundles.verify_directory(parsed.directory, trust, production=parsed.production, golden=parsed.golden))
    return 0


def _list(parsed: argparse.Namespace) -> int:
    store = find_slots(parsed.station).store
    state, revoked = read_state(store), bundle_view.revoked_of(store)
    rows = {
        digest: bundle_view.story(state, digest, revoked)
        for digest, entry in sorted(state.installed.items(), key=lambda item: item[1].order)
        if entry.kind is parsed.kind
    }
    if parsed.json:
        print(json.dumps([{"digest": digest, **row} for digest, row in rows.items()], indent=2))
        return 0
    for digest, row in rows.items():
        marks = [*row["is"], *(name for name in ("pinned", "revoked") if row[name])]
        told = f"{row['name']} {row['version']}  installed {row['installed']}"
        print(f"{digest[:12]}  {told}  {', '.join(marks)}".rstrip())
    if not rows:
        print(f"no {parsed.kind} is installed")
    return 0


def _show(parsed: argparse.Namespace) -> int:
    shown = bundle_view.find(find_slots(parsed.station).store, parsed.subject, parsed.trust)
    print(json.dumps(shown.document(), indent=2) if parsed.json else bundle_view.text(shown))
    return 0


def _diff(parsed: argparse.Namespace) -> int:
    store = find_slots(parsed.station).store
    one, other = (bundle_view.find(store, name, None) for name in (parsed.first, parsed.second))
    found = bundle_view.differences(one, other)
    if parsed.json:
        print(json.dumps([dict(zip(("what", "first", "second"), row, strict=True)) for row in found], indent=2))
        return 0
    for what, first, second in found:
        print(f"{what}\n  - {first}\n  + {second}")
    if not found:
        print("they are the same")
    return 0


def _do(parsed: argparse.Namespace) -> int:
    slots, console = find_slots(parsed.station), Console()
    reason = lineacts.why(parsed.reason, console)
    carry = parsed.directory if parsed.what is What.INSTALL else None
    if parsed.what is What.APPROVE_PLAN:
        subject = _approval(parsed.approval)
    else:
        subject = str(carry.absolute()) if carry else getattr(parsed, "subject", "")
    answer = ask(slots, parsed.what, reason, subject, carry)
    print(json.dumps({"answer": answer}) if parsed.json else answer)
    return 0


def _plans(parsed: argparse.Namespace) -> int:
    from provisioning import plan_request, plans_view  # noqa: PLC0415 - loads the engines, which no other command needs

    slots = find_slots(parsed.station)
    view = plans_view.open_view(slots.store, slots.station)
    if parsed.request:
        if parsed.request.exists():
            raise CommandFailed(f"{parsed.request}: is there already; name another file")
        found = plans_view.request(view, parsed.subject)
        with whole_file(parsed.request) as file:
            file.write(plan_request.encode(found).decode())
        told = f"{parsed.request}: {len(found.plans)} plans of bundle {found.bundle[:12]}: have QA sign it"
        print(json.dumps({"request": str(parsed.request)}) if parsed.json else told)
        return 0
    rows = plans_view.rows(view)
    told = "\n".join(plans_view.text(row) for row in rows) or "there are no plans, or none is needed here"
    print(json.dumps([plans_view.document(row) for row in rows], indent=2) if parsed.json else told)
    return 0


def _approval(path: Path) -> str:
    """Return an approval as text; slots judges it."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PLAN_APPROVAL_BYTES + 1)
        text = raw.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path}: no approval can be read there; name what `plan approve` wrote") from error
    if not text or len(raw) > MAX_PLAN_APPROVAL_BYTES:
        raise CommandFailed(f"{path}: empty or more than {MAX_PLAN_APPROVAL_BYTES} bytes: not a plan approval")
    return text
