"""`python -m daemon PROCESS STATION`: what the unit files start. Imports the one process it is asked for."""

import importlib
import os
import sys
from pathlib import Path

USAGE = (
    "usage: python -m daemon line|vision|recorder|uplink|slots STATION.toml"
    "  or  python -m daemon camera STATION.toml NAME  or  python -m daemon acceptance STATION.toml CASES"
)
ARGUMENTS = {"line": 1, "vision": 1, "recorder": 1, "uplink": 1, "slots": 1, "camera": 2, "acceptance": 2}
MODULES = {"acceptance": "daemon.line.acceptance_main"}


def main(arguments: list[str]) -> int:
    """Run one process to its end and return its exit status."""
    if not arguments or ARGUMENTS.get(arguments[0]) != len(arguments) - 1:
        print(USAGE, file=sys.stderr)
        return os.EX_USAGE
    process, station, *names = arguments
    module = importlib.import_module(MODULES.get(process, f"daemon.{process}.main"))
    return int(module.main(Path(station), *names))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
