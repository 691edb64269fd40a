"""What a person reads: aligned tables, progress that does not flood a log."""

from __future__ import annotations

import io
import sys

import pytest

from server.commands.console import Progress, say, table

Capture = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    """Standard output of somebody who looks on."""

    def isatty(self) -> bool:
        return True


def test_errors_go_where_errors_go(capsys: Capture) -> None:
    say("fine")
    say("not fine", error=True)

    assert capsys.readouterr() == ("fine\n", "not fine\n")


def test_a_table_has_words_to_the_left_and_figures_to_the_right(capsys: Capture) -> None:
    table(("structure", "ml"), [("liver", "412.5"), ("aorta", "20.0"), ("left kidney", "")])

    assert capsys.readouterr().out.splitlines() == [
        "structure    ml",
        "-----------  -----",
        "liver        412.5",
        "aorta         20.0",
        "left kidney",
    ]


def test_a_table_without_rows_is_its_header(capsys: Capture) -> None:
    table(("weights",), [])

    assert capsys.readouterr().out == "weights\n-------\n"


def test_progress_in_a_log_is_the_first_word_and_the_last(capsys: Capture) -> None:
    progress = Progress("work")

    for number in range(100):
        progress.show(f"slice {number}")
    progress.end()

    assert capsys.readouterr().out.splitlines() == ["work     slice 0", "work     slice 99"]


def test_what_came_too_early_is_printed_later(capsys: Capture) -> None:
    now_s = 100.0
    progress = Progress("work", clock=lambda: now_s)
    progress.show("QUEUED")
    progress.show("SENDING")  # too early for a line of its own
    now_s += 11.0

    progress.show("SENDING")
    now_s += 11.0
    progress.show("SENDING")

    assert capsys.readouterr().out.splitlines() == ["work     QUEUED", "work     SENDING"]


def test_progress_on_a_terminal_rewrites_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    progress = Progress("work")

    progress.show("slice 0")
    progress.show("slice 0")
    progress.show("slice 1")
    progress.end()

    clear = "\r\x1b[K"
    assert screen.getvalue() == (
        f"{clear}work     slice 0{clear}work     slice 1{clear}work     slice 1\n"
    )
