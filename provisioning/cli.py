"""The command `linewarden`: which word is whose, and how it ends. Each leaf is a function of another module.

Only the module of the word that was typed is loaded: a technician who asks for the status waits for nothing else.

Exit status: 0 done (also when whoever reads the output stops early), 1 it did not work out (one line on stderr says
why), 2 wrong arguments, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from daemon.config import ConfigError
from daemon.ledger_file import LedgerUnreadable
from daemon.recorder.verify import TrailBroken
from drivers.sim.faults import FaultError
from provisioning.errors import CommandFailed
from signing.errors import SigningError

DONE, FAILED, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
FAILURES = (CommandFailed, ConfigError, LedgerUnreadable, SigningError, TrailBroken)
COMMANDS = {
    "cli_sim": ("sim",),
    "cli_status": ("status", "config"),
    "cli_line": ("why", "alarms", "clear", "line"),
    "cli_bundle": ("bundle", "recipe"),
    "cli_update": ("update",),
    "cli_batch": ("batch",),
    "cli_trace": ("trace",),
    "cli_replay": ("replay", "evidence"),
    "cli_audit": ("audit",),
    "cli_backup": ("backup", "restore"),
    "cli_enroll": ("enroll",),
    "cli_station": ("station",),
    "cli_teach": ("teach",),
    "cli_shadow": ("shadow",),
    "cli_plc": ("map", "qualify"),
    "cli_model": ("model",),
}
"""Modules of this folder and the words that each adds with `add(commands)`, in the order of the help."""


class Parser(argparse.ArgumentParser):
    """A wrong argument is one line, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_ARGUMENTS, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. Entry point of the console script."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parsed = tree(words[0] if words else "").parse_args(words)
    try:
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except FaultError as error:
        print(f"linewarden: {error}", file=sys.stderr)
        return WRONG_ARGUMENTS
    except FAILURES as error:
        print(f"linewarden: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("linewarden: stopped", file=sys.stderr)
        return INTERRUPTED


def tree(word: str = "") -> argparse.ArgumentParser:
    """Return the parser of the commands that stand beside `word`, of all if it is none."""
    parser = Parser(prog="linewarden", description="Linewarden, the inspection device beside the line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in [name for name, words in COMMANDS.items() if word in words] or COMMANDS:
        import_module(f"provisioning.{module}").add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
