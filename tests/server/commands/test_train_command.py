"""`segnode train`: its methods, and that naming one loads nothing that trains."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from server.commands import train

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "matplotlib")


def test_every_method_says_what_it_does() -> None:
    parser = argparse.ArgumentParser()

    train.add_arguments(parser)

    for name in train.METHODS:
        assert name.isalpha()
        assert train.METHODS[name][1]


def test_no_method_named_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(prog="segnode train")
    train.add_arguments(parser)

    with pytest.raises(SystemExit):
        parser.parse_args([])

    assert "METHOD" in capsys.readouterr().err


def test_arguments_are_known_without_what_trains() -> None:
    script = (
        "import sys; from server.cli import make_parser; make_parser(['train']);"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.stdout.strip() == "[]", done.stderr
