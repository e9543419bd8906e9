"""Leaves of `linewarden-fleet` that say which line takes what: rollout, activate. They stage; `publish` makes it so."""

import argparse
from datetime import UTC, datetime
from typing import Any

from fleet import rollout
from fleet.cli_devices import add_statuses, statuses_of
from fleet.cli_publish import add_by, by_of
from fleet.errors import NotDone
from fleet.folder import Folder
from fleet.rollout import Progress
from fleet.staged import rollout_text
from fleet.steps import add_asking, add_fleet, perform, show, why
from signing.index import Kind
from signing.permission import ROLLOUT_PATH, Activation, Pair, Rollout, allowlist_path, line_of
from signing.utc import utc_text


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    family = commands.add_parser("rollout", help="let devices download a pair, a share of them at a time")
    leaves = family.add_subparsers(required=True, metavar="COMMAND")
    _add_new(leaves.add_parser("new", help="put a pair on allow-lists and let a share of the devices download it"))
    _add_set(leaves.add_parser("set", help="change percentage, lines or the limit of failures"))
    for name, what in (
        ("pause", "stop downloads and activations of its pair"),
        ("resume", "go on after a pause"),
        ("end", "take it off the list: what allow-lists activate stays"),
    ):
        leaf = leaves.add_parser(name, help=what)
        leaf.add_argument("id", metavar="ID")
        add_fleet(leaf)
        add_asking(leaf)
        leaf.set_defaults(run=_change, command=f"rollout {name}")
    _add_status(leaves.add_parser("status", help="how far roll-outs are, by the devices' signed statuses"))
    _add_activate(commands.add_parser("activate", help="have a line run a pair from its next batch on"))


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", required=True, metavar="DIGEST", help="8 characters do if they name one")
    parser.add_argument("--recipe", required=True, metavar="DIGEST")


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="a new name: which devices are first depends on it")
    _add_pair(parser)
    parser.add_argument("--percent", type=int, choices=range(101), metavar="0..100", default=0)
    parser.add_argument("--line", action="append", default=[], metavar="LINE", help="only these (default: all lines)")
    parser.add_argument("--most-failures", type=int, default=0, metavar="N", help="pause with more failed devices")
    add_fleet(parser)
    add_asking(parser)
    parser.set_defaults(run=_new, command="rollout new")


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--percent", type=int, choices=range(101), metavar="0..100")
    parser.add_argument("--line", action="append", default=[], metavar="LINE", help="these lines instead")
    parser.add_argument("--all-lines", action="store_true")
    parser.add_argument("--most-failures", type=int, metavar="N")
    add_fleet(parser)
    add_asking(parser)
    parser.set_defaults(run=_set, command="rollout set")


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pause", action="store_true", help="stage the pause of those with too many failures")
    add_statuses(parser)
    add_fleet(parser)
    add_asking(parser)
    parser.set_defaults(run=_status, command="rollout status")


def _add_activate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("line", nargs="+", metavar="LINE")
    _add_pair(parser)
    parser.add_argument("--change-control", required=True, metavar="CC", help="id of the change control")
    add_by(parser)
    add_fleet(parser)
    add_asking(parser)
    parser.set_defaults(run=_activate, command="activate")


def _pair(parsed: argparse.Namespace, folder: Folder) -> Pair:
    pair = Pair(folder.digest(Kind.BUNDLE, parsed.bundle), folder.digest(Kind.RECIPE, parsed.recipe))
    folder.require_pair(pair)
    return pair


def _new(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    pair = _pair(parsed, folder)
    lines = tuple(dict.fromkeys(parsed.line))
    made = Rollout(parsed.id, *pair, parsed.percent, False, lines, parsed.most_failures)
    begun = rollout.begun(folder.rollouts(), made)
    documents = {
        allowlist_path(line): rollout.allowed(folder.allowlist(line), pair) for line in lines or folder.lines()
    }
    if not documents:
        raise NotDone("there is no line with an allow-list yet: name the lines with --line")
    changes = [f"put bundle {pair.bundle[:12]} and recipe {pair.recipe[:12]} on the allow-list of {_of(documents)}"]
    changes += [f"let {made.percent} % of the devices of {', '.join(lines) or 'all lines'} download them"]
    return _stage(parsed, folder, changes, {**documents, ROLLOUT_PATH: begun}, pair.bundle)


def _of(documents: dict[str, Any]) -> str:
    return ", ".join(line_of(path) for path in documents)


def _set(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    before = rollout.one_of(folder.rollouts(), parsed.id)
    new: dict[str, Any] = {}
    if parsed.percent is not None:
        new["percent"] = parsed.percent
    if parsed.most_failures is not None:
        new["most_failures"] = parsed.most_failures
    if parsed.line or parsed.all_lines:
        new["lines"] = () if parsed.all_lines else tuple(dict.fromkeys(parsed.line))
    after = rollout.changed(folder.rollouts(), parsed.id, **new)
    documents: dict[str, Any] = {ROLLOUT_PATH: after}
    for line in (new.get("lines") or folder.lines()) if "lines" in new else ():
        documents[allowlist_path(line)] = rollout.allowed(folder.allowlist(line), before.pair)
    (now,) = (one for one in after.rollouts if one.id == parsed.id)
    changes = [f"change roll-out {rollout_text(before)}", f"into {rollout_text(now)}, {now.most_failures} may fail"]
    return _stage(parsed, folder, changes, documents, before.bundle)


def _change(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    found, act = folder.rollouts(), parsed.command.split()[1]
    one = rollout.one_of(found, parsed.id)
    after = (
        rollout.ended(found, parsed.id) if act == "end" else rollout.changed(found, parsed.id, paused=act == "pause")
    )
    changes = [f"{act} roll-out {parsed.id} of bundle {one.bundle[:12]}"]
    return _stage(parsed, folder, changes, {ROLLOUT_PATH: after}, one.bundle)


def _activate(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    fleet, pair, now = folder.read(), _pair(parsed, folder), datetime.now(UTC)
    parsed.reason = why(parsed.reason)
    made = Activation(*pair, parsed.change_control, by_of(parsed, fleet), utc_text(now), parsed.reason)
    documents = {allowlist_path(line): rollout.activated(folder.allowlist(line), made) for line in parsed.line}
    changes = [
        f"have {line} run bundle {pair.bundle[:12]} and recipe {pair.recipe[:12]} from its next batch on, by "
        f"{made.change_control}, answered for by {made.printed_name}"
        for line in parsed.line
    ]
    return _stage(parsed, folder, changes, documents, pair.bundle)


def _stage(
    parsed: argparse.Namespace,
    folder: Folder,
    changes: list[str],
    documents: dict[str, Any],
    digest: str = "",
    said: dict[str, Any] | None = None,
) -> int:
    def do() -> dict[str, Any]:
        folder.stage(documents, datetime.now(UTC))
        return {**(said or {}), "staged": list(documents), "next": "publish, signed by two people"}

    return perform(parsed, folder.path, changes, do, digest)


def _status(parsed: argparse.Namespace) -> int:
    folder = Folder(parsed.fleet)
    reported, refused = statuses_of(parsed, folder)
    newest = {one.device_id: one.status for one in reported}
    found = [rollout.progress(one, newest) for one in folder.rollouts().rollouts]
    said = {"rollouts": [_document(one) if parsed.json else _text(one) for one in found], "refused": len(refused)}
    much = [one.rollout.id for one in found if one.too_many and not one.rollout.paused]
    if not much or not parsed.pause or not parsed.json:
        show(parsed, said)
    if much and not parsed.pause:
        raise NotDone(f"too many failures in {', '.join(much)}: pause with rollout status --pause, then publish")
    return _pause(parsed, folder, much, said if parsed.json else {}) if much else 0


def _pause(parsed: argparse.Namespace, folder: Folder, names: list[str], said: dict[str, Any]) -> int:
    paused = folder.rollouts()
    for name in names:
        paused = rollout.changed(paused, name, paused=True)
    changes = [f"pause roll-out {name}: too many failures" for name in names]
    return _stage(parsed, folder, changes, {ROLLOUT_PATH: paused}, said=said)


def _text(one: Progress) -> str:
    it = one.rollout
    said = f"{it.id}: {it.percent} %{' paused' * it.paused}, {one.reached} of {one.devices} devices reached, "
    said += f"{one.installed} installed, {one.active} active, {len(one.failures)} failed (limit {it.most_failures})"
    return said + "".join(f"; {device}: {text}" for device, text in sorted(one.failures.items())[:3])


def _document(one: Progress) -> dict[str, Any]:
    counts = {"devices": one.devices, "reached": one.reached, "installed": one.installed, "active": one.active}
    it = one.rollout
    said = {"id": it.id, "bundle": it.bundle, "recipe": it.recipe, "percent": it.percent, "paused": it.paused}
    return {**said, **counts, "failures": dict(one.failures), "too_many": one.too_many}
