"""The API over a record in memory, with one token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dicom_node.fakes import FakeDestination
from server.http.app import create_app
from server.http.fakes import FakeCounting, FakePictures, FakeRecord, FakeWaiting
from server.http.ports import ConfiguredDestination, Services
from server.http.tokens import tokens_of
from server.settings import DestinationSettings

TOKEN = "a-token-of-good-length"
STUDY = "1.2.826.0.1.3680043.8.498.1"

MakeClient = Callable[..., TestClient]


@pytest.fixture
def record() -> FakeRecord:
    """A record that holds one complete study, `study`."""
    held = FakeRecord()
    held.add_study(STUDY)
    return held


@pytest.fixture
def study() -> str:
    """The UID of the study in the record."""
    return STUDY


@pytest.fixture
def token() -> str:
    """The token that opens the API."""
    return TOKEN


@pytest.fixture
def pacs() -> FakeDestination:
    """The one destination."""
    return FakeDestination("pacs")


@pytest.fixture
def counting(record: FakeRecord) -> FakeCounting:
    """Numbers about the record, and parts of the node that all move."""
    return FakeCounting(record)


@pytest.fixture
def pictures() -> FakePictures:
    """What draws turns."""
    return FakePictures()


@pytest.fixture
def make_client(
    record: FakeRecord,
    counting: FakeCounting,
    pictures: FakePictures,
    pacs: FakeDestination,
    tmp_path: Path,
) -> MakeClient:
    """A client with these headers; `storage` and `minimum_free_bytes` as in Services."""

    def make(
        headers: dict[str, str] | None = None,
        storage: Path = tmp_path,
        minimum_free_bytes: int = 0,
    ) -> TestClient:
        configured = DestinationSettings(
            name=pacs.name, ae_title="PACS", host="127.0.0.1", port=4242
        )
        services = Services(
            record=record,
            counting=counting,
            waiting=FakeWaiting(record),
            pictures=pictures,
            destinations=(ConfiguredDestination(configured, pacs),),
            storage=storage,
            minimum_free_bytes=minimum_free_bytes,
        )
        app = create_app(services, tokens_of((TOKEN,)))
        # a fault becomes an answer, as in a real server
        return TestClient(app, headers=headers, raise_server_exceptions=False)

    return make


@pytest.fixture
def api(make_client: MakeClient) -> TestClient:
    """A client that sends the token."""
    return make_client({"Authorization": f"Bearer {TOKEN}"})


@pytest.fixture
def stranger(make_client: MakeClient) -> TestClient:
    """A client without a token."""
    return make_client()
