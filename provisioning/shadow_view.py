"""How `linewarden shadow report` looks on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from provisioning.shadow_statistics import Decision

NOTHING = "no candidate has looked on here; name one in [vision] of the station file (docs/operations/shadow.md)"
DIGITS = 12


def shown(document: Mapping[str, Any]) -> RenderableType:
    """Return the report as tables, one for each candidate and active pair; one line where there is nothing."""
    status = _status(document)
    if not document["rounds"]:
        return Text(status or NOTHING)
    blocks = [block for one in document["rounds"] for block in _round(one, document["alpha"])]
    return Group(*([Text(status)] if status else []), *blocks, Text(document["note"], style="yellow"))


def _status(document: Mapping[str, Any]) -> str:
    status, named = document["status"], document["named"]
    if named is False:
        return "the station file names no candidate now" if document["rounds"] else ""
    if status is None:
        return "the candidate of the station file was not started yet: restart vision" if named else ""
    return f"candidate {status['phase']} since {status['at']}: {status['text']}"


def _round(one: Mapping[str, Any], alpha: float) -> list[RenderableType]:
    title = (
        f"{one['station']}: {one['candidate']['name']}, {one['candidate']['recipe_name']} beside the active pair "
        f"{one['active']['bundle'][:DIGITS]}, {one['active']['recipe'][:DIGITS]}"
    )
    table = Table(box=SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False)
    for name in ("", "candidate accepts", "candidate does not"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    table.add_row("active accepts", str(one["both_accept"]), str(one["only_candidate_rejects"]))
    table.add_row("active does not", str(one["only_active_rejects"]), str(one["both_reject"]))
    style = "bold red" if one["decision"] == Decision.MORE else "bold"
    return [Text(title, style="bold"), table, *map(Text, _facts(one, alpha)), Text(_decision(one), style=style), Text()]


def _facts(one: Mapping[str, Any], alpha: float) -> list[str]:
    discordant = one["only_active_rejects"] + one["only_candidate_rejects"]
    agreement = "-" if one["agreement"] is None else f"{100 * one['agreement']:.2f} %"
    dropped = "" if not one["dropped"] else f" ({100 * one['dropped_share']:.1f} %)"
    return [
        f"{one['since']} to {one['until']}: {one['units']} units, agreement {agreement}, {discordant} discordant",
        f"candidate undecided {one['candidate_undecided']}, not compared {one['not_compared']}, "
        f"dropped {one['dropped']}{dropped}, {len(one['disagreements'])} disagreements stored",
        f"e-value {one['e_value']:.3g} ({1 / alpha:g} decides, at any time); McNemar p {one['mcnemar_p']:.3g}, "
        "valid only if this is the end that was planned",
    ]


def _decision(one: Mapping[str, Any]) -> str:
    needed = one["more_pairs_needed"]
    if one["decision"] != Decision.NONE:
        return str(one["decision"])
    if needed is None:
        return f"{Decision.NONE}: equally many on both sides"
    discordant = one["only_active_rejects"] + one["only_candidate_rejects"]
    ratio = "of one kind" if not discordant else f"at {one['only_candidate_rejects']} of {discordant} the candidate's"
    return f"{Decision.NONE}: {needed} more discordant pairs {ratio} would show one"
