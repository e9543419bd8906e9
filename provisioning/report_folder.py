"""The folder of a report: a new one, there whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from provisioning.errors import CommandFailed
from provisioning.unsigned import new_folder
from signing.durable import write_durably


class ReportRefused(CommandFailed):
    """The report cannot be written where it was asked for."""


def check_place(folder: Path) -> None:
    """Refuse a place for the report before any work is done.

    Raises:
        ReportRefused: it is taken, or there is nothing to make it in.
    """
    if folder.exists():
        raise ReportRefused(f"{folder}: is there already; name a new folder for the report")
    if not folder.absolute().parent.is_dir():
        raise ReportRefused(f"{folder.absolute().parent}: no such folder; make it, or name another for the report")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files, content by name, into the new `folder`.

    Raises:
        ReportRefused: the disk does not take it; nothing of it is there.
        NotBuilt: `folder` came to be since `check_place`.
    """
    try:
        with new_folder(folder.absolute()) as staging:
            for name, content in files.items():
                write_durably(staging / name, content)
    except OSError as error:
        raise ReportRefused(f"{folder}: not written: {error.strerror or error}; make room or name another") from error
