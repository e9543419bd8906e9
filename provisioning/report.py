"""The report of a simulated batch: the recorder's own, completed by what only the box and this run know.

The daemon's numbers are never changed; `truth`, `faults` and the box's latencies are added
(docs/interfaces/report-v1.schema.json).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from daemon.recorder.report import summary_ms
from provisioning.truth import LedgerUnit, Truth, judge
from signing.durable import write_durably

STAGES = ("trigger_to_frame", "frame_to_verdict", "trigger_to_permit", "bare_inference")
HARM = ("misbound", "escaped", "passed_not_released")
SHOWN_UNITS = ("in", "accepted", "rejected", "undecided", "sampled", "removed", "quarantined", "escaped")


def complete(
    document: Mapping[str, Any],
    truth: Truth,
    ledger: Sequence[LedgerUnit],
    findings: Mapping[str, Any],
    control: Mapping[str, Sequence[int]],
) -> dict[str, Any]:
    """Return the recorder's report with `truth`, `faults`, trigger_to_permit and bare_inference filled in.

    `findings`: what the run itself knows; its `faults` are completed, its other keys are added as they are.
    `control`: ns of bare calls by camera, in the order in which a unit meets the cameras; the last one's time is what
    lies between the last edge and the verdict.
    """
    permits = [seen.seen_ns - seen.last_edge_ns for seen in truth.permits.values() if seen.last_edge_ns]
    bare = list(control.values())[-1] if control else ()
    latency = dict(document["latency_ms"]) | {
        "trigger_to_permit": summary_ms(permits),
        "bare_inference": summary_ms(bare),
        "bare_inference_by_camera": {camera: summary_ms(values) for camera, values in control.items()},
    }
    return (
        dict(document)
        | dict(findings)
        | {
            "truth": judge(truth, ledger).document(),
            "uninspected": sum(not unit.views for unit in ledger),
            "latency_ms": latency,
            "faults": [dict(fault) | _around(fault, ledger) for fault in findings["faults"]],
        }
    )


def _around(fault: Mapping[str, Any], ledger: Sequence[LedgerUnit]) -> dict[str, Any]:
    """How long after the fault's begin no permit was given: the longest pause that reaches past the begin."""
    begin = fault["begin_ns"]
    given = sorted(unit.permit_ns for unit in ledger if unit.permit_ns)
    after = [at for at in given if at > begin]
    last_before = max((at for at in given if at <= begin), default=begin)
    window = [last_before, *[at for at in after if at <= (fault["end_ns"] or begin) + 10_000_000_000]]
    pauses = [later - earlier for earlier, later in zip(window, window[1:], strict=False)]
    return {"longest_permit_pause_ms": round(max(pauses) / 1e6, 1) if pauses else None}


def good(document: Mapping[str, Any]) -> bool:
    """True iff the batch closed, nothing escaped, and no verdict or row contradicts what the box saw."""
    truth = document["truth"]
    return bool(document["closed"]) and truth is not None and not any(truth.get(name) for name in HARM)


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write the report so that it is there whole or not at all, also after a power cut."""
    write_durably(path, json.dumps(document, indent=2).encode() + b"\n")


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print the report for a person."""
    ok = good(document)
    title = Text.assemble(
        (" BATCH CLOSED " if document["closed"] else " BATCH NOT CLOSED ", f"bold white on {'green' if ok else 'red'}"),
        f" {document['batch']['id']} ",
    )
    body = Group(
        _beside(_units(document), _truth(document["truth"])),
        _beside(_latency(document["latency_ms"]), _reasons(document)),
    )
    console.print(Panel(body, title=title, title_align="left", subtitle=_foot(document), subtitle_align="left"))
    if document["sublots"]:
        console.print(_sublots(document["sublots"]))
    for line in document["not_closed_because"]:
        console.print(Text(f"  {line}", style="red"))
    if document["acts"] and not document["faults"]:
        times = len(document["acts"])
        text = f"  no fault was played and yet the attendant had to reset the line {times} times (see `acts`)"
        console.print(Text(text, style="yellow"))
    if document["faults"]:
        console.print(_faults(document["faults"]))


def _beside(*tables: Table) -> Table:
    grid = Table.grid(padding=(0, 3))
    grid.add_row(*tables)
    return grid


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_style="dim", title_justify="left", header_style="dim", box=SIMPLE_HEAD)
    table.pad_edge = False
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _units(document: Mapping[str, Any]) -> Table:
    table = _table("units", "", "ledger", "PLC")
    units, plc = document["units"], document["plc"]
    counterpart = {"in": plc["created"], "accepted": plc["passed"], "rejected": plc["diverted"]}
    for name in SHOWN_UNITS:
        if units[name] or name in counterpart or name == "escaped":
            table.add_row(name, str(units[name]), str(counterpart.get(name, "")))
    return table


def _truth(truth: Mapping[str, Any] | None) -> Table:
    table = _table("the box's truth", "", "units")
    for name in (*HARM, "missed_defects", "false_rejects"):
        value = truth[name] if truth else "?"
        harmful = name != "false_rejects" and value
        table.add_row(name.replace("_", " "), Text(str(value), style="bold red" if harmful else "green"))
    return table


def _latency(latency: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("latency, ms", "", "n", "p50", "p99", "max")
    for stage in STAGES:
        row = latency[stage]
        cells = ("-" if row[key] is None else f"{row[key]:.1f}" for key in ("p50", "p99", "max"))
        table.add_row(stage.replace("_", " "), str(row["n"]), *cells)
    return table


def _reasons(document: Mapping[str, Any]) -> Table:
    table = _table("why not accepted", "", "units")
    for name, count in sorted(document["reasons"].items(), key=lambda item: -item[1]):
        table.add_row(name.replace("_", " "), str(count))
    for name, count in sorted(document["defects"].items(), key=lambda item: -item[1]):
        table.add_row(Text(f"  {name.replace('_', ' ')}", style="dim"), Text(str(count), style="dim"))
    return table


def _sublots(sublots: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("sub-lots", "", "in", "accepted", "rejected")
    table.add_column("judged by", overflow="fold")
    for lot in sublots:
        counts = (str(lot["units"][name]) for name in ("in", "accepted", "rejected"))
        signed = f", signed by {lot['signed_by']} {lot['signed_utc']}" if lot["signed_by"] else ""
        table.add_row(str(lot["number"]), *counts, f"{lot['bundle_name']}, {lot['recipe_name']}{signed}")
    return table


def _faults(faults: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("faults played", "", "lasted", "no permit", "reset by")
    table.add_column("line states", overflow="fold")
    for fault in faults:
        lasted = _seconds((fault["end_ns"] - fault["begin_ns"]) / 1e6) if fault["end_ns"] else "not over"
        resets = fault["resets"].split(":")[0]
        name = f"{fault['name']}@{fault['unit']}"
        table.add_row(name, lasted, _seconds(fault["longest_permit_pause_ms"]), resets, " ".join(fault["states"]))
    return table


def _seconds(ms: float | None) -> str:
    return "-" if ms is None else f"{ms / 1000:.2f} s"


def _foot(document: Mapping[str, Any]) -> Text:
    text = f" {document['rate_per_min']:g} units/min · {document['late']} late · "
    text += f"{document['uninspected']} uninspected · "
    return Text(f"{text}configuration {document['configuration_digest'][:16]}… ", style="dim")
