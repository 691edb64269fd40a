"""The database's password is in the configuration, and whatever is wrong there, nobody reads it."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.cli import main
from server.commands.client import NodeClient
from server.compose.weights import fetch
from server.errors import ConfigurationError
from server.settings import load_settings

PASSWORD = "Zq7-hunter"
AWAY = f"postgresql://segnode:{PASSWORD}@127.0.0.1:9/record"
DATABASE = f'[database]\nurl = "{AWAY}"\n'
ROUTE = '[[routes]]\nname = "r"\ntargets = ["liver"]\n'
PACS = '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 4242\n'


class Said:
    """All that a command said: both streams, and the log with its tracebacks."""

    def __init__(self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self._capfd, self._caplog = capfd, caplog
        caplog.set_level(logging.DEBUG)

    def text(self) -> str:
        out, err = self._capfd.readouterr()
        return f"{out}{err}{self._caplog.text}"


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Said:
    return Said(capfd, caplog)


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))
    monkeypatch.setenv("SEGNODE_STORAGE__MINIMUM_FREE_BYTES", "0")
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def configured(folder: Path, text: str) -> list[str]:
    file = folder / "site.toml"
    file.write_text(text, encoding="utf-8")
    return ["--config", str(file)]


WRONG_SETTINGS = {
    "unknown key": ("[node]\nprot = 1\n", "node.prot"),
    "unknown section": ("[nodes]\nport = 1\n", "nodes"),
    "url under another key": (f'[database]\nuri = "{AWAY}"\n', "database.uri"),
    "url in another section": (f'[http]\nport = "{AWAY}"\n', "http.port"),
    "url as a list": (f'[database]\nurl = ["{AWAY}"]\n', "database.url"),
    "url as a section": (f'database = "{AWAY}"\n', "database"),
    "url as a host": (f'[node]\nhost = 5\nae_title = "{AWAY}"\n', "node.ae_title"),
    "wrong type in [node]": ('[node]\nport = "many"\n', "node.port"),
    "wrong type in [http]": ("[http]\nhost = 1\n", "http.host"),
    "wrong type in [storage]": ("[storage]\nencodings_bytes = -1\n", "storage.encodings_bytes"),
    "wrong type in [study]": ('[study]\nquiet_s = "x"\n', "study.quiet_s"),
    "wrong type in [agent]": ("[agent]\nmax_turns = 0\n", "agent.max_turns"),
    "wrong pair in [agent]": ('[agent]\ncheckpoint = "x.pt"\n', "agent.checkpoint"),
    "wrong type in [models]": ('[models]\nprecision = "half"\n', "models.precision"),
    "wrong type in [language]": ('[language]\ndialect = "x"\n', "language.dialect"),
    "wrong type in [sessions]": ("[sessions]\nidle_s = -1\n", "sessions.idle_s"),
    "wrong type in [delivery]": ("[delivery]\nattempts = 0\n", "delivery.attempts"),
    "wrong destination": ('[[destinations]]\nname = "pacs"\n', "destinations.0"),
    "two destinations of a name": (PACS + PACS, "same name"),
    "route without targets": ('[[routes]]\nname = "r"\ntargets = []\n', "routes.0.targets"),
    "route to nowhere": (f'{ROUTE}destinations = ["nowhere"]\n', "nowhere"),
    "route by an unknown keyword": (f'{ROUTE}when = {{ PatientShoe = "1" }}\n', "PatientShoe"),
    "route to an odd target": (ROUTE.replace("liver", " "), "target 1 is empty"),
    "no TOML": ("[node\n", "is not TOML"),
    "a number without end": (f"[node]\nport = {'9' * 5000}\n", "site.toml"),
    "password in another URL": (
        f'[models]\nhub = "https://user:{PASSWORD}@hub"\n',
        "models.hub",
    ),
    "password in an endpoint": (
        f'[language]\nendpoints = ["http://user:{PASSWORD}@host/v1"]\n',
        "language.endpoints",
    ),
}


@pytest.mark.parametrize(("text", "named"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
@pytest.mark.parametrize("command", ["check", "listen"])
def test_wrong_settings_are_named_without_it(
    said: Said, tmp_path: Path, command: str, text: str, named: str
) -> None:
    # what the site wrote about the database comes first, unless that is what is wrong
    whole = text if "database" in text else DATABASE + text

    code = main([command, *configured(tmp_path, whole)])

    spoken = said.text()
    assert code == 1
    assert named in spoken
    assert PASSWORD not in spoken
    assert "a fault of Segnode" not in spoken


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (f"postgres://segnode:{PASSWORD}@host/record", "database.url: must be"),
        (f"segnode:{PASSWORD}@host/record", "database.url: must be"),
        (f"postgresql://segnode:a@{PASSWORD}@host/record", "database.url: its host"),
        (f"postgresql://segnode@host:{PASSWORD}/record", "database.url: its host"),
        (f"postgresql://segnode:a/b:{PASSWORD}", "database.url: its host"),
        (f"postgresql://host/record?password={PASSWORD}", "database.url: the password"),
        (f"postgresql://host/record?pass={PASSWORD}", "database.url: an option"),
        (f"postgresql://segnode:{PASSWORD}@host:99999/record", "database.url: its host"),
    ],
)
@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_wrong_url_is_described_and_not_shown(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, named: str, way: str
) -> None:
    if way == "environment":
        monkeypatch.setenv("SEGNODE_DATABASE__URL", url)
    text = f'[database]\nurl = "{url}"\n' if way == "file" else ""

    code = main(["check", *configured(tmp_path, text)])

    spoken = said.text()
    assert code == 1
    assert named in spoken
    assert PASSWORD not in spoken


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("SEGNODE_NODE__PORT", AWAY, "node.port"),
        ("SEGNODE_NODE__ALLOW", f'["{AWAY}"', "SEGNODE_NODE__ALLOW"),
        ("SEGNODE_DATABASE__URI", AWAY, "database.uri"),
        ("SEGNODE_DATABASE__URL", f'["{AWAY}"]', "database.url"),
        ("SEGNODE_ROUTES__0", AWAY, "routes"),
    ],
)
def test_a_wrong_variable_is_named_without_it(
    said: Said,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    named: str,
) -> None:
    monkeypatch.setenv(name, value)

    code = main(["check", *configured(tmp_path, DATABASE)])

    spoken = said.text()
    assert code == 1
    assert named in spoken
    assert PASSWORD not in spoken


def test_a_file_that_cannot_be_read_is_named(said: Said, tmp_path: Path) -> None:
    words = [*configured(tmp_path, DATABASE), "--config", str(tmp_path / "gone.toml")]

    assert main(["check", *words]) == 1
    spoken = said.text()
    assert "gone.toml" in spoken
    assert PASSWORD not in spoken


REFUSAL = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user\0\0"


@pytest.fixture
def refusing_server() -> Iterator[int]:
    """A PostgreSQL that lets nobody in (an error by protocol 3.0); its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(5)
                size = int.from_bytes(peer.recv(4), "big")
                if peer.recv(size - 4)[:4] == b"\x04\xd2\x16\x2f":  # SSLRequest: not here
                    peer.sendall(b"N")
                    peer.recv(4096)
                peer.sendall(b"E" + (len(REFUSAL) + 4).to_bytes(4, "big") + REFUSAL)

    threading.Thread(target=refuse, daemon=True).start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def test_a_database_that_refuses_or_is_away(
    said: Said, tmp_path: Path, refusing_server: int
) -> None:
    for port, named in ((refusing_server, "password authentication failed"), (9, "refused")):
        text = DATABASE.replace(":9/", f":{port}/")
        assert main(["check", *configured(tmp_path, text)]) == 1
        spoken = said.text()
        assert named in spoken
        assert PASSWORD not in spoken


def test_a_port_that_is_taken(said: Said, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        text = f'[node]\nhost = "127.0.0.1"\nport = {other.getsockname()[1]}\n'
        code = main(["listen", *configured(tmp_path, DATABASE + text)])

    spoken = said.text()
    assert code == 1
    assert "node.port: cannot listen" in spoken
    assert PASSWORD not in spoken


def test_settings_and_clients_do_not_show_what_they_hold() -> None:
    settings = load_settings((), {"SEGNODE_DATABASE__URL": AWAY})
    client = NodeClient("http://127.0.0.1:1", PASSWORD)

    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {client}"

    assert settings.database.url.get_secret_value() == AWAY
    assert PASSWORD not in shown


def test_a_hubs_token_that_is_no_word_is_not_quoted(said: Said, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{PASSWORD}\n{PASSWORD}\n")
    settings = load_settings((), {"SEGNODE_MODELS__TOKEN_FILE": str(file)})
    from models.weights.manifest import known_weights

    with pytest.raises(ConfigurationError, match="one token on one line") as refused:
        fetch(settings, known_weights("sam_vit_b"), lambda _: None)

    assert PASSWORD not in f"{refused.value} {said.text()}"
