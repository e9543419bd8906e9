"""What a batch report says, section by section, as plain tables: for the PDF and for the terminal alike. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioning.batch_trail import NO, UNKNOWN

Report = Mapping[str, Any]
Column = tuple[str, bool]
SHOWN_ALARMS = 40
SHOWN_ACTS = 200
SHOWN_DIFFERENCES = 6
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Grid:
    """One table. `columns`: (head, aligned right); `widths`: shares of the page; `wrong` is printed in red."""

    title: str
    columns: Sequence[Column]
    widths: Sequence[float]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    wrong: Sequence[str] = ()


def headline(report: Report) -> list[tuple[str, str]]:
    """Return what a reviewer must see first, as (text, good | bad | open)."""
    batch, made = report["batch"], report["made_utc"]
    closed = batch["state"] == "closed"
    found = [
        (f"CLOSED {batch['closed_utc']} by {batch['closed_by']}", "good") if closed else (f"OPEN, as of {made}", "open")
    ]
    reconciliation = report["reconciliation"]
    if reconciliation["agrees"]:
        found.append(("Reconciled: every unit of the PLC is accounted for, on both sides", "good"))
    else:
        found.append((f"NOT RECONCILED: {'; '.join(reconciliation['open_because'][:3])}", "bad"))
    differences = report["cross_check"]["differences"]
    found += [(f"THE RECORD DIFFERS FROM ITSELF: {line}", "bad") for line in differences[:SHOWN_DIFFERENCES]]
    if (rest := len(differences) - SHOWN_DIFFERENCES) > 0:
        found.append((f"and {rest} differences more, see cross_check in the JSON", "bad"))
    if not report["cross_check"]["compared_with_closing_report"] and closed:
        found.append(("There is no usable report of the closing to compare with", "bad"))
    return found


def identity(report: Report) -> list[Grid]:
    """Who, when, and with which documents."""
    batch, documents = report["batch"], report["documents"]
    length = f"{batch['duration_s']:.0f} s" if batch["duration_s"] is not None else "still open"
    rows = [
        ("opened", f"{batch['opened_utc']} (clock {batch['opened_clock']}) by {batch['opened_by']}"
         f" ({batch['opened_role']}): {batch['opened_because']}"),
        ("closed", f"{batch['closed_utc']} (clock {batch['closed_clock']}) by {batch['closed_by']}:"
         f" {batch['closed_because']}" if batch["closed_utc"] else NOTHING),
        ("length, rate", f"{length}, {report['rate_per_min']:g} units per minute while they came"),
        ("product", documents["product"] or "see the recipe"),
    ]  # fmt: skip
    rows += [
        (name, f"{documents[f'{name}_name']}  sha256 {documents[f'{name}_sha256']}") for name in ("recipe", "bundle")
    ]
    rows += [
        (name.replace("_", " "), f"sha256 {documents[f'{name}_sha256']}")
        for name in ("configuration", "station", "register_map")
    ]
    rows.append(("release", documents["release"]))
    return [Grid("Identity", (("", False), ("", False)), (0.16, 0.84), rows)]


def sublots(report: Report) -> list[Grid]:
    """What judged which units, where QA signed a swap inside the batch; nothing where none was made."""
    rows = []
    for lot in report["sublots"]:
        units, signed = lot["units"], f"{lot['signed_by']}, {lot['signed_utc']}: {lot['why']}"
        places = ", ".join(f"{p['epoch']}.{p['lane']}.{p['first']}-{p['last']}" for p in lot["places"]) or NOTHING
        rows += [
            (
                str(lot["number"]),
                f"bundle {lot['bundle_name']}  sha256 {lot['bundle']}",
                str(units["in"]),
                str(units["accepted"]),
            ),
            ("", f"recipe {lot['recipe_name']}  sha256 {lot['recipe']}", "", ""),
            ("", f"begun {lot['begun']}, units {places}", "", ""),
            ("", f"signed by {signed}" if lot["signed_by"] else "as the batch was opened", "", ""),
        ]
    heads = (("", False), ("sub-lot", False), ("units", True), ("accepted", True))
    return (
        [Grid("Sub-lots: swapped inside the batch by signed order", heads, (0.05, 0.71, 0.12, 0.12), rows)]
        if rows
        else []
    )


def reconciliation(report: Report) -> list[Grid]:
    """The two sides, what the closing rule says of them, and by epoch and lane."""
    found = report["reconciliation"]
    equal = {True: "equal", False: "differs"}
    rows = [(side["what"], str(side["ledger"]), str(side["plc"]), equal[side["equal"]]) for side in found["sides"]]
    notes = (
        [f"{found['removed_by_hand']} removed by hand: on neither side of the gate"] if found["removed_by_hand"] else []
    )
    if found["agrees"] and any(not side["equal"] for side in found["sides"]):
        notes.append(
            "The line or the PLC restarted: of an epoch that ended the PLC's counts are those that were last read. The"
            " closing rule has found the units that were in the machine by their numbers."
        )
    notes += [f"Not seen by the line, read from the PLC as a gap: {gap}" for gap in report["gaps"]]
    sides = Grid(
        "Reconciliation with the PLC", (("", False), ("ledger", True), ("PLC", True), ("", False)),
        (0.3, 0.15, 0.15, 0.4), rows, notes, found["open_because"],
    )  # fmt: skip
    lanes = [tuple(str(lane[key]) for key in LANE) for lane in found["lanes"]]
    heads = [(key.replace("_", " "), True) for key in LANE]
    return [sides, Grid("", heads, [1] * len(LANE), lanes if len(lanes) > 1 else [])]


LANE = ("epoch", "lane", "first", "last", "created", "passed", "diverted")


def rejects(report: Report) -> list[Grid]:
    """Why units were not accepted, in three ways of counting."""
    total = sum(report["units"][name] for name in report["units"] if name not in ("in", "accepted"))
    rows = []
    for kind in ("reason", "defect", "channel"):
        counted = sorted(report["rejects"][f"by_{kind}"].items(), key=lambda item: -item[1])
        for index, (name, count) in enumerate(counted):
            share = f"{100 * count / total:.1f} %" if total else NOTHING
            rows.append((kind if not index else "", name.replace("_", " "), str(count), share))
    columns = (("by", False), ("", False), ("units", True), ("of all not accepted", True))
    notes = [] if rows else ["Every unit was accepted."]
    return [Grid("Not accepted", columns, (0.15, 0.45, 0.15, 0.25), rows, notes)]


def latency(report: Report) -> list[Grid]:
    """Stage times with their percentiles; those that n does not carry are left empty."""
    keys = ("p50", "p90", "p99", "p99_9", "p99_99", "max")
    rows = [
        (
            stage.replace("_", " "),
            str(found["n"]),
            *(NOTHING if found[key] is None else f"{found[key]:.2f}" for key in keys),
        )
        for stage, found in report["latency_ms"].items()
    ]
    heads = (("stage", False), ("n", True), *((key.replace("_", "."), True) for key in keys))
    notes = [
        "CLOCK_MONOTONIC of the device, nearest rank. A percentile stands only where n carries it (p99 from 100 units,"
        " p99.9 from 1,000, p99.99 from 10,000). Trigger: the last camera edge of the unit; permit: the line wrote it,"
        " one PLC scan before it acts."
    ]
    return [Grid("Latency, ms", heads, (0.24, *[0.1] * 7), rows, notes)]


def alarms(report: Report) -> list[Grid]:
    """Alarms by code with the line's own reaction, then the last of them, then the states of the line."""
    found = report["alarms"]
    codes = [
        (row["code"], str(row["count"]), row["reaction"], row["first_utc"], row["last_utc"]) for row in found["by_code"]
    ]
    heads = (("alarm", False), ("times", True), ("reaction of the line", False), ("first", False), ("last", False))
    notes = ["" if found["count"] else "No alarm rang in this batch."]
    by_code = Grid("Alarms and automatic reactions", heads, (0.27, 0.08, 0.2, 0.22, 0.22), codes, notes)
    shown = found["listed"][-SHOWN_ALARMS:]
    rows = [(row["utc"], row["code"], row["unit"] or "", row["state"].lower(), row["text"]) for row in shown]
    heads = (("time", False), ("alarm", False), ("unit", False), ("line", False), ("", False))
    rest = found["count"] - len(shown)
    notes = [f"{rest} earlier ones are not listed here."] if rest else []
    listed = Grid("", heads, (0.2, 0.2, 0.1, 0.12, 0.38), rows, notes)
    states = [(row["utc"], row["text"]) for row in report["line_states"]]
    return [by_code, listed, Grid("States of the line", (("time", False), ("state: cause", False)), (0.2, 0.8), states)]


def acts(report: Report) -> list[Grid]:
    """The audit trail of the batch."""
    rows = []
    for row in report["acts"][:SHOWN_ACTS]:
        change = f"{row['old'] or NOTHING} -> {row['new'] or NOTHING}" if row["old"] or row["new"] else ""
        answer = "" if row["done"] else f"REFUSED: {row['answer']}"
        who = f"{row['who']} ({row['role']})" if row["role"] else row["who"]
        rows.append((row["utc"], row["what"], who, change, " ".join(part for part in (row["why"], answer) if part)))
    heads = (("time", False), ("act", False), ("who", False), ("old -> new", False), ("why", False))
    rest = len(report["acts"]) - len(rows)
    notes = [f"{rest} more are in the JSON."] if rest else []
    return [Grid("Acts and events of the trail", heads, (0.2, 0.17, 0.19, 0.18, 0.26), rows, notes)]


def evidence(report: Report) -> list[Grid]:
    """Images, archive, signatures, refused rows: what the numbers above rest on."""
    return [_images(report["images"]), _archive(report), _signatures(report["signatures"]), _refused(report)]


def _images(found: Report) -> Grid:
    size = f"{found['retained_bytes'] / 1e6:.1f} MB"
    rows = [
        ("retained", f"{found['retained']} on this device, {size}"),
        ("released", f"{found['released']} to the archive"),
    ]
    rows.append(("dropped", str(found["dropped"])))
    wrong = [f"image of unit {row['unit']} was dropped: {row['why']}" for row in found["dropped_units"]]
    notes = [] if found["recorded"] else ["Recorded under an older schema: what became of the images is not on record."]
    return Grid("Images", (("", False), ("", False)), (0.16, 0.84), rows if found["recorded"] else [], notes, wrong)


def _archive(report: Report) -> Grid:
    found = report["archive"]
    rows = [(row["target"], f"{row['entries']} entries confirmed {row['utc']}") for row in found["targets"]]
    notes = [
        {
            UNKNOWN: "Recorded under an older schema: not known.",
            NO: "The site archive has not confirmed all of it.",
        }.get(found["archived"], "")
    ]
    title = f"Archived: {found['archived']}"
    return Grid(title, (("", False), ("", False)), (0.16, 0.84), rows, [note for note in notes if note])


def _signatures(found: Report) -> Grid:
    rows = [
        (str(head["entries"]), head["root_sha256"], ", ".join(head["keys"]), "yes" if head["anchored_in_tpm"] else "no")
        for head in found["checkpoints"]
    ]
    covered = (
        "The last one covers the closing." if found["covered"] else "None of them covers the closing of the batch."
    )
    notes = [f"{covered} {found['between']} more between them. Named here, checked by `linewarden audit verify`."]
    heads = (("entries", True), ("tree head, sha256", False), ("signing key", False), ("in the TPM", False))
    return Grid("Signed checkpoints over the batch", heads, (0.1, 0.6, 0.18, 0.12), rows, notes)


def _refused(report: Report) -> Grid:
    rows = [(row["utc"], row["kind"], row["why"]) for row in report["refused_rows"]]
    heads = (("time", False), ("row", False), ("why it was not taken", False))
    notes = [] if rows else ["None."]
    return Grid("Refused rows", heads, (0.2, 0.15, 0.65), rows, notes)


SECTIONS: tuple[Callable[[Report], list[Grid]], ...] = (
    *(identity, sublots, reconciliation, rejects, latency),
    *(alarms, acts, evidence),
)
