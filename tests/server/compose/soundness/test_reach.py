"""Destinations are asked side by side, and each has an answer of its own."""

from __future__ import annotations

import logging
import threading

import pytest

from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from dicom_node.fakes import FakeDestination
from dicom_node.values import ResultKind
from server.compose.soundness.reach import answers, warn_of_the_unreached

AWAY = TransientDeliveryError("nobody is there", destination="a")
REFUSAL = PermanentDeliveryError("accepts no SEG", destination="b")


def test_each_has_its_own_answer_in_their_order() -> None:
    first = FakeDestination("a", failures=[AWAY])
    second = FakeDestination("b", refusal=REFUSAL)
    third, last = FakeDestination("c"), FakeDestination("d", kinds=(ResultKind.SR,))

    told = list(answers([first, second, third, last]))

    assert told == [
        (first, AWAY),
        (second, REFUSAL),
        (third, "answers C-ECHO and takes SEG and SR"),
        (last, "answers C-ECHO and takes SR"),
    ]
    assert list(answers([])) == []


def test_one_that_keeps_silent_holds_up_no_other() -> None:
    meeting = threading.Barrier(5)

    class Slow(FakeDestination):
        def echo(self) -> None:
            meeting.wait(timeout=30)  # all are asked before one has answered

    told = list(answers([Slow(str(number)) for number in range(5)]))

    assert {answer for _, answer in told} == {"answers C-ECHO and takes SEG and SR"}


def test_those_that_take_nothing_now_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    others = [FakeDestination("b", refusal=REFUSAL), FakeDestination("c")]

    warn_of_the_unreached([FakeDestination("a", failures=[AWAY]), *others]).join(30)

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "nobody is there"),
        (logging.WARNING, "accepts no SEG"),
    ]
