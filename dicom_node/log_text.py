"""Text from peers and files, escaped so that it fits into one line of a log.

A title or UID may hold any byte: a line feed in it would begin a line that looks like our own.
"""

from __future__ import annotations

import logging
import re

# C0, DEL, C1, the separators that some viewers break lines at, and the marks that turn the
# direction of writing
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LONGEST = 200
LINE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def on_one_line(text: str) -> str:
    r"""`text` with every control character as its escape (a line feed as `\n`)."""
    return _UNFIT.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def quoted(text: str) -> str:
    """A peer's name or UID for a message: escaped, and cut where it is endless."""
    return on_one_line(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


class OneLineFormatter(logging.Formatter):
    """A formatter that keeps a record from looking like several.

    Messages are escaped, and tracebacks are indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name for it
        """The first line of a record."""
        record.message = on_one_line(record.message)
        return super().formatMessage(record)

    def formatException(  # noqa: N802 - logging's name for it
        self, ei: logging._SysExcInfoType | tuple[None, None, None]
    ) -> str:
        """A traceback: no line of it can be taken for the first of a record."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name for it
        """A stack, in the same way."""
        return _indented(super().formatStack(stack_info))


def log_lines(level: int) -> None:
    """Log to the standard error stream, from `level` on, each record on a line of its own.

    It is called when a process starts.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter(LINE_FORMAT))
    handler.addFilter(_quotes_nobody)
    logging.basicConfig(level=level, handlers=[handler])


def _quotes_nobody(record: logging.LogRecord) -> bool:
    """Whether a message may be shown: pydicom quotes odd values, which may be a patient's.

    A filter and not a level, which pydicom sets anew when it is imported.
    """
    return record.name.partition(".")[0] != "pydicom"


def _indented(text: str) -> str:
    return "\n".join(f"  | {on_one_line(line)}" for line in text.split("\n"))
