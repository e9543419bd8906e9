"""The command `linewarden-fleet`: the tree of its arguments. Each leaf is a function of another module.

Exit status: 0 done (also when whoever reads the output stops early), 1 it did not work out (one line on stderr says
why), 2 wrong arguments, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fleet import cli_build, cli_devices, cli_plan, cli_publish, cli_rollout, cli_setup
from fleet.errors import FleetError
from signing.errors import SigningError

DONE, FAILED, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
PROGRAM = "linewarden-fleet"


class Parser(argparse.ArgumentParser):
    """A wrong argument is one line, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_ARGUMENTS, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    parsed = tree().parse_args(arguments)
    try:
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (FleetError, SigningError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename or 'the disk'}: {error.strerror}; make room or name another place")
    except KeyboardInterrupt:
        print(f"{PROGRAM}: stopped", file=sys.stderr)
        return INTERRUPTED


def _failed(text: str) -> int:
    print(f"{PROGRAM}: {' '.join(text.split())}", file=sys.stderr)
    return FAILED


def tree() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(prog=PROGRAM, description="What the publishers of bundles and recipes do. Never on a device.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for leaves in (cli_setup, cli_build, cli_plan, cli_publish, cli_rollout, cli_devices):
        leaves.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
