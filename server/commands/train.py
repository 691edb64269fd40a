"""`segnode train`: the ways to train a planner, each with its arguments in a module of its own.

Those modules load no model: what trains is loaded when the command runs.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec

METHODS = {
    "sft": ("train_sft", "teach a language model to plan from trajectories (supervised)"),
    "grpo": ("train_grpo", "improve a planner by the rewards of its own episodes (GRPO)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What each way takes; its module's `add_arguments` also sets what the command runs."""
    methods = parser.add_subparsers(metavar="METHOD", required=True)
    for name, (module, sentence) in METHODS.items():
        place = f"server.commands.{module}"
        if find_spec(place) is not None:
            method = methods.add_parser(name, help=sentence, description=sentence)
            import_module(place).add_arguments(method)
