"""The one place that prints: what commands tell a person.

Tables and progress are written here and not by rich, which cuts a table to 80 columns where output
is piped, so that a UID of 64 characters ends in an ellipsis, and takes 54 ms of processor time to
import.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

QUIET_S = 10.0  # between two lines of progress where lines cannot be rewritten


def say(text: str, *, error: bool = False) -> None:
    """One line for the person: to standard output, or to standard error when it is what went
    wrong.
    """
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with aligned columns: the first column to the left, figures to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, tuple("-" * width for width in widths), *rows):
        cells = [
            text.rjust(width) if _is_figure(text) else text.ljust(width)
            for text, width in zip(row, widths, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _is_figure(text: str) -> bool:
    return text.replace(".", "", 1).isdigit() and len(text) < 8


class Progress:
    """Long work as it goes on: one line that is rewritten on a terminal, elsewhere a line every ten
    seconds.

    What came too early for a line is printed when it is shown again later, so that whoever shows it
    over and over, waiting, never leaves an old line standing.
    """

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._newest = ""
        self._printed = ""
        self._printed_s = -QUIET_S

    def show(self, text: str) -> None:
        """Say where the work stands; the same text again says nothing."""
        self._newest = text
        if text == self._printed:
            return
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\x1b[K{self._label:<8} {text}")
            sys.stdout.flush()
        elif self._clock() - self._printed_s < QUIET_S:
            return
        else:
            say(f"{self._label:<8} {text}")
            self._printed_s = self._clock()
        self._printed = text

    def end(self) -> None:
        """Leave the last word on a line of its own."""
        lead = "\r\x1b[K" if sys.stdout.isatty() else ""
        say(f"{lead}{self._label:<8} {self._newest}")


class FetchProgress:
    """Files and bytes of a download as `tell` should say them."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._file = tell, ""

    def file(self, name: str) -> None:
        """The next file begins."""
        self._file = name
        self._tell(name)

    def bytes(self, here: int, whole: int) -> None:
        """So many bytes are here of so many (0: nobody says)."""
        of = f" of {whole / 1e6:.1f}" if whole else ""
        self._tell(f"{self._file}, {here / 1e6:.1f}{of} MB")
