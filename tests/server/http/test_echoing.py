"""An echo, and what it does for deliveries that wait."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.errors import TransientDeliveryError
from dicom_node.fakes import FakeDestination
from server.http.echoing import echo
from server.http.fakes import FakeRecord, FakeWaiting
from server.http.ports import ConfiguredDestination
from server.settings import DestinationSettings
from server.values import DeliveryState


@pytest.fixture
def waiting(record: FakeRecord, study: str) -> FakeRecord:
    """A record with a delivery to "pacs" that waits for its next time."""
    submitted = record.submit(study, ["liver"], actor="test")
    view = record.kept_requests[submitted.id]
    deliveries = tuple(
        replace(delivery, state=DeliveryState.RETRYING) for delivery in view.deliveries
    )
    record.kept_requests[submitted.id] = replace(view, deliveries=deliveries)
    return record


def configured(destination: FakeDestination) -> ConfiguredDestination:
    settings = DestinationSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=4242)
    return ConfiguredDestination(settings, destination)


def test_what_waits_is_tried_now(waiting: FakeRecord) -> None:
    answered = echo(configured(FakeDestination()), FakeWaiting(waiting), actor="jo")

    assert answered.tried_now == 1
    assert answered.seconds >= 0
    assert [(line.event, line.actor) for line in waiting.trail][-1] == ("delivery.now", "jo")


def test_a_silent_destination_moves_nothing(waiting: FakeRecord) -> None:
    silent = FakeDestination(failures=[TransientDeliveryError("silent", destination="pacs")])

    with pytest.raises(TransientDeliveryError):
        echo(configured(silent), FakeWaiting(waiting), actor="jo")

    assert all(line.event != "delivery.now" for line in waiting.trail)
