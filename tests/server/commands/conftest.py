"""A node that commands reach over HTTP, with a record in memory."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from server.http.app import create_app
from server.http.fakes import FakeCounting, FakePictures, FakeRecord, FakeWaiting
from server.http.ports import Services
from server.http.tokens import tokens_of

TOKEN = "a-token-of-good-length"


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRecord]:
    """The record of a node that the commands reach: three requests on two studies."""
    record = FakeRecord()
    for study, text in (("1.2.3", "liver"), ("1.2.3", "spleen"), ("4.5.6", "aorta")):
        record.add_study(study)
        record.submit(study, [text], actor="jo")
    services = Services(
        record, FakeCounting(record), FakeWaiting(record), FakePictures(), (), tmp_path, 0
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path))
        monkeypatch.setenv("SEGNODE_HTTP__PORT", str(listening.getsockname()[1]))
        monkeypatch.setenv("SEGNODE_TOKEN", TOKEN)
        config = uvicorn.Config(create_app(services, tokens_of((TOKEN,))), log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield record
        finally:
            server.should_exit = True
            thread.join()
