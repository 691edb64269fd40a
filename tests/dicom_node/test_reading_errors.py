"""Whatever a damaged file makes a library raise becomes one of our errors.

What stops the process does not.
"""

from __future__ import annotations

import pytest

from dicom_node.errors import NotAVolume, NoUsableSeries, UndecodablePixels
from dicom_node.reading_errors import parsing


class Panic(BaseException):
    """As a codec written in Rust raises it."""


@pytest.mark.parametrize(
    "reason", [KeyError("x"), EOFError(), RuntimeError("a\n  b"), Panic("index"), MemoryError()]
)
def test_anything_raised_becomes_ours(reason: BaseException) -> None:
    with (
        pytest.raises(UndecodablePixels, match=r"^Instance 4 cannot be read: ") as caught,
        parsing(UndecodablePixels, "Instance 4 cannot be read"),
    ):
        raise reason

    assert caught.value.__cause__ is reason
    assert "\n" not in str(caught.value)


def test_our_own_errors_keep_their_words() -> None:
    reading = parsing(NotAVolume, "Instance 4 cannot be read")

    with pytest.raises(NoUsableSeries, match=r"^as it was$"), reading:
        raise NoUsableSeries("as it was")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_held_up(stop: type[BaseException]) -> None:
    with pytest.raises(stop), parsing(NotAVolume, "Instance 4 cannot be read"):
        raise stop
