"""Leaves of `linewarden model`: make one from good images, and see what one is worth."""

import argparse
from typing import Any

from provisioning import cli_model_evaluate, cli_model_fit, cli_model_mask


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `model` to the tree."""
    model = commands.add_parser(
        "model", help="fit one to good images, evaluate one, ask whether it looks at the defect"
    )
    leaves = model.add_subparsers(required=True)
    cli_model_fit.add_leaf(leaves)
    cli_model_evaluate.add_leaf(leaves)
    cli_model_mask.add_leaf(leaves)
