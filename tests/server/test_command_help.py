"""Every command's help: two examples that parse, every default told, exit codes."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from server.cli import make_parser
from server.command_help import COMMAND_HELP, commands_of

COMMANDS = dict(commands_of(make_parser()))
HIDDEN = ("models dump",)  # for trials beside upstream's package; no user's


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in HIDDEN])
def test_a_command_has_two_examples_that_parse(words: str) -> None:
    told = COMMANDS[words].format_help()

    assert len(COMMAND_HELP[words].examples) >= 2
    for example in COMMAND_HELP[words].examples:
        assert f"  segnode {example}" in told
        assert example.startswith(words)
        assert make_parser().parse_args(shlex.split(re.split(r" [|&]", example)[0])).run


def test_the_table_names_commands_that_there_are() -> None:
    assert COMMAND_HELP.keys() == COMMANDS.keys() - set(HIDDEN)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_default_is_told(words: str) -> None:
    untold = [
        option
        for option in COMMANDS[words]._actions
        if option.option_strings
        and not any(option.default is none for none in (None, False, argparse.SUPPRESS))
        and option.default not in ("", [])
        and str(option.default) not in (option.help or "")
    ]
    assert [option.option_strings[-1] for option in untold] == []


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in HIDDEN])
def test_exit_codes_are_told(words: str) -> None:
    told = " ".join(COMMANDS[words].format_help().split())

    assert f"exit codes: {COMMAND_HELP[words].exit_codes}" in told
    for code in ("0 ", ", 1 ", ", 2 "):
        assert code in COMMAND_HELP[words].exit_codes


@pytest.mark.parametrize("words", ["segment", "evaluate", "trajectories", "train grpo"])
def test_what_is_read_is_told(words: str) -> None:
    assert "NIfTI" in COMMANDS[words].format_help()
