"""Layers of configuration, and what is refused with the key at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.errors import ConfigurationError
from server.settings import LanguageSection, load_settings

DESTINATION = (
    '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 4242\n'
)


def written(folder: Path, text: str, name: str = "site.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_are_the_contract() -> None:
    settings = load_settings(environment={})

    assert (settings.node.ae_title, settings.node.host, settings.node.port) == (
        "SEGNODE",
        "0.0.0.0",
        11112,
    )
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.storage.dir == Path("var")
    assert settings.database.embedded
    assert settings.study.quiet_s == 10
    assert settings.agent.max_turns == 5
    assert settings.destinations == ()
    assert settings.routes == ()


def test_a_language_model_is_asked_by_default_as_default_toml_says() -> None:
    assert load_settings(environment={}).language == LanguageSection()


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("IMAGE_PX", "27", "language.image_px: must be at least 28"),
        ("RETRIES", "101", "language.retries: must be at most 100"),
        ("TEMPERATURE", "nan", "language.temperature: must be at least 0"),
        ("BATCH", "0", "language.batch: must be at least 1"),
        ("ENDPOINTS", '["ftp://host/v1"]', "language.endpoints: must be URLs such as http://"),
        ("ENDPOINTS", '["http://user:word@host"]', "language.endpoints: must be URLs such as"),
        ("WORDS", "1", "language.words: no such setting"),
    ],
)
def test_a_wrong_language_setting_is_named(setting: str, value: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        load_settings(environment={f"SEGNODE_LANGUAGE__{setting}": value})

    if not value.isdigit():
        assert value not in str(caught.value)


def test_an_empty_path_of_the_language_model_is_none() -> None:
    language = load_settings(environment={"SEGNODE_LANGUAGE__API_KEY_FILE": "/run/key"}).language

    assert (language.prompts, language.api_key_file) == (None, Path("/run/key"))


def test_layers_override_key_by_key_and_lists_whole(tmp_path: Path) -> None:
    # Arrange
    first = written(tmp_path, '[node]\nport = 1\nae_title = "ONE"\nallow = ["A", "B"]\n', "1.toml")
    second = written(tmp_path, '[node]\nport = 2\nallow = ["C"]\n', "2.toml")

    # Act
    node = load_settings([first, second], {"SEGNODE_NODE__PORT": "3", "UNRELATED__KEY": "x"}).node

    # Assert: the environment beats both files, the later file the earlier one, the rest stays
    assert (node.port, node.ae_title, node.allow, node.host) == (3, "ONE", ("C",), "0.0.0.0")


def test_lists_in_the_environment_are_json() -> None:
    assert load_settings((), {"SEGNODE_NODE__ALLOW": '["PACS", "10.0.0.1"]'}).node.allow == (
        "PACS",
        "10.0.0.1",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[node]\nprot = 1\n", "node.prot: no such setting"),
        ("[nodes]\nport = 1\n", "nodes: no such setting"),
        ("[node]\nport = 70000\n", "node.port"),
        ('[node]\nport = "many"\n', "node.port"),
        ('[node]\nae_title = "SEVENTEEN LETTERS"\n', "node.ae_title"),
        ('[node]\nae_title = "BACK\\\\SLASH"\n', "node.ae_title"),
        (
            '[node]\nallow = ["PACS", "10.9.9.999"]\n',
            r"node\.allow: .*'10\.9\.9\.999' is no IP address",
        ),
        (
            '[node]\nallow_addresses = ["PACS"]\n',
            r"node\.allow_addresses: .*'PACS' is no IP address",
        ),
        ("[node]\nprocesses = -1\n", r"node\.processes"),
        ('[database]\nurl = "sqlite://"\n', "postgresql"),
        (DESTINATION + DESTINATION, "same name"),
        ('[[routes]]\nname = "r"\ntargets = ["liver"]\ndestinations = ["nowhere"]\n', "nowhere"),
        (f'{DESTINATION}kinds = ["SEG", "STL"]\n', "kinds.1: Input should be 'SEG', 'SR'"),
        (f"{DESTINATION}kinds = []\n", "kinds: .* at least 1 item"),
        ('[[routes]]\nname = "r"\ntargets = []\n', "routes.0.targets"),
        ("[agent]\nmax_turns = 0\n", "agent.max_turns"),
        ('[agent]\nsecond_segmenter = "auto"\n', "name another segmenter"),
        ('[agent]\nsegmenter = "sam"\nsecond_segmenter = "sam"\n', "agree with itself"),
        ("[agent]\nagree_dice = 0.0\n", "agent.agree_dice"),
        ("not toml", "site.toml is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings([written(tmp_path, text)], {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        load_settings([tmp_path / "nowhere.toml"], {})


@pytest.mark.parametrize(
    ("variable", "key"), [("SEGNODE_NODE__PROT", r"node\.prot"), ("SEGNODE_NODES__PORT", "nodes")]
)
def test_an_unknown_variable_is_refused(variable: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{key}: no such setting"):
        load_settings((), {variable: "1"})


def test_settings_do_not_change_once_read() -> None:
    settings = load_settings(environment={})

    with pytest.raises(ValidationError, match="frozen"):
        settings.node.port = 1
