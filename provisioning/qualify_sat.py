"""`linewarden qualify sat`: the negatives of the gate, played on the PLC of the station file.

The process `daemon acceptance` drives the PLC; this module starts it, shows what it says and writes the report.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from daemon import config
from daemon.acceptance import PLAYED, Case, Finished, Progress, Refused, Result, word
from drivers.registers import load_map
from provisioning.errors import CommandFailed
from provisioning.supervisor import die_with_parent

REPORT_FORMAT = 1
END_S = 5.0
WARNING = (
    "This test takes the place of the running line. It moves belt, infeed and gate of {name} and lets units go to the "
    "reject chute that nobody inspected. Use water-filled or empty units only, and remove them all afterwards."
)


class SatError(CommandFailed):
    """The test did not run to its end; the text says what to do."""


@dataclass(slots=True)
class Record:
    """What was found so far."""

    started: str
    results: list[Result] = field(default_factory=list)
    finished: Finished | None = None
    refused: str = ""

    @property
    def ok(self) -> bool:
        """Whether every case was played, every unit went where it should, and nothing else got past the gate."""
        complete = self.finished is not None and not self.finished.strays
        return complete and bool(self.results) and all(result.ok for result in self.results)


def run(station: Path, cases: Sequence[Case], report: Path | None, runtime: Path | None, console: Console) -> bool:
    """Play the cases; True if the PLC is right. `runtime` is where a running line of this device would listen.

    Raises:
        ConfigError: the station file is wrong.  SatError: the test did not run to its end.
    """
    config.load(station)
    record = Record(_wall())
    with _process(station, cases, runtime) as lines:
        for text in lines:
            _take(text, record, console)
    console.print(table(record))
    if report is not None:
        report.write_text(json.dumps(document(station, record), indent=2) + "\n", encoding="utf-8")
    if record.refused:
        raise SatError(record.refused)
    console.print(verdict(record), highlight=False)
    return record.ok


def confirm(station: Path, console: Console) -> None:
    """Ask before anything moves; simulated stations are not asked for.

    Raises:
        SatError: the person said no, or there is no person.
    """
    document = config.load(station)
    if document.simulated:
        return
    console.print(WARNING.format(name=document.name), highlight=False)
    if not sys.stdin.isatty():
        raise SatError("nobody is there to agree: start it from a terminal, or with --yes")
    if console.input("Type yes to begin: ").strip().lower() != "yes":
        raise SatError("not started")


def table(record: Record) -> Table:
    """Return the results as a table."""
    shown = Table(title="Site acceptance test of the gate")
    for name in ("case", "unit", "closed ring", "cause", "", "what happened"):
        shown.add_column(name, overflow="fold")
    for result in record.results:
        unit = f"{result.epoch}/{result.lane}/{result.number}"
        mark = "[green]pass[/]" if result.ok else "[bold red]FAIL[/]"
        shown.add_row(result.case.value, unit, " ".join(result.flags), result.cause, mark, result.text)
    return shown


def verdict(record: Record) -> str:
    """Return the one line that counts."""
    failed = [result.case.value for result in record.results if not result.ok]
    strays = record.finished.strays if record.finished else 0
    if record.ok:
        return f"PASS: {len(record.results)} cases, each unit went where it should"
    parts = [f"wrong: {', '.join(failed)}"] if failed else []
    parts += [f"{strays} bodies went past the gate beside the cases"] if strays else []
    return f"FAIL: {'; '.join(parts)}. Do not release this line."


def document(station: Path, record: Record) -> dict[str, Any]:
    """Return the report."""
    plc = record.finished
    return {
        "report": "site acceptance test",
        "format": REPORT_FORMAT,
        "station": config.load(station).name,
        "station_digest": config.digest(station),
        "register_map": load_map().digest,
        "release": config.release(),
        "started": record.started,
        "ended": _wall(),
        "ok": record.ok,
        "refused": record.refused,
        "strays": plc.strays if plc else None,
        "plc": {"identity": plc.plc_identity, "starts": plc.plc_starts} if plc else None,
        "results": [
            {"played": PLAYED[result.case], "must_pass": result.case.must_pass} | msgspec.to_builtins(result)
            for result in record.results
        ],
    }


def _take(text: bytes, record: Record, console: Console) -> None:
    try:
        said = word(text)
    except ValueError as error:
        raise SatError(f"the test process said {error}") from error
    match said:
        case Progress(case=case, text=what):
            console.print(f"{case or 'start'}: {what}", highlight=False)
        case Result():
            record.results.append(said)
            console.print(f"  {'pass' if said.ok else 'FAIL'}: {said.text} ({said.cause})", highlight=False)
        case Finished():
            record.finished = said
        case Refused(text=why):
            record.refused = why


@contextmanager
def _process(station: Path, cases: Sequence[Case], runtime: Path | None) -> Iterator[Iterator[bytes]]:
    """Start the process and yield its lines; it is gone afterwards, whatever happens.

    Raises:
        SatError: it ended with a complaint of its own.
    """
    command = [*die_with_parent(), sys.executable, "-I", "-m", "daemon", "acceptance", str(station.resolve())]
    environment = dict(os.environ) | ({"RUNTIME_DIRECTORY": str(runtime)} if runtime else {})
    with subprocess.Popen(
        [*command, ",".join(cases)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            yield iter(process.stdout)
            if process.wait(END_S) not in (0, 1):
                complaint = process.stderr.read().decode(errors="replace").strip()
                raise SatError(complaint.splitlines()[-1] if complaint else "the test process ended early")
        finally:
            process.terminate()


def _wall() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
