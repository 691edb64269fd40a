"""Tokens: made once, readable by their owner alone, compared whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ConfigurationError
from server.http.tokens import first_token, load_tokens, own_token, tokens_of

GOOD = "a-token-of-good-length"
OTHER = "another-token-that-is-good"


def test_a_fresh_node_makes_a_token_that_only_its_owner_reads(tmp_path: Path) -> None:
    token = own_token(tmp_path / "var")

    file = tmp_path / "var" / "token"
    assert file.read_text() == f"{token}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
    assert len(token) >= 40
    assert [each.name for each in (tmp_path / "var").iterdir()] == ["token"]


def test_the_token_stays(tmp_path: Path) -> None:
    assert own_token(tmp_path) == own_token(tmp_path)


def test_two_nodes_have_two_tokens(tmp_path: Path) -> None:
    assert own_token(tmp_path / "one") != own_token(tmp_path / "two")


def test_processes_that_start_at_once_agree_on_one_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: own_token(tmp_path), range(32)))

    assert len(found) == 1


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    own_token(tmp_path)
    (tmp_path / "token").chmod(0o640)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        own_token(tmp_path)


def test_tokens_come_from_a_file_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{GOOD}\n\n  {OTHER}  \n")

    tokens = load_tokens(str(file), tmp_path)

    assert tokens.actor(GOOD)
    assert tokens.actor(OTHER)
    assert tokens.actor("") is None
    assert not (tmp_path / "token").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "at least one"), (b"short\n", "characters"), (b"\xff\xfe", "is not text")],
)
def test_a_file_without_good_tokens_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(content)

    with pytest.raises(ConfigurationError, match=said):
        load_tokens(str(file), tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_tokens(str(tmp_path / "nowhere"), tmp_path)


def test_a_command_takes_the_first_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{GOOD}\n{OTHER}\n")

    assert first_token(file) == GOOD


def test_an_empty_token_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "token").touch(0o600)

    with pytest.raises(ConfigurationError, match="remove it"):
        own_token(tmp_path)


def test_an_actor_is_no_token() -> None:
    # SHA-256 of the token begins so; made with sha256sum
    assert tokens_of((GOOD,)).actor(GOOD) == "token 62ad67ee"


@given(st.text())
def test_no_other_text_opens(text: str) -> None:
    assert tokens_of((GOOD, OTHER)).actor(text + "!") is None
