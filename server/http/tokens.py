"""Bearer tokens: made at first start or read from a file, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from server.errors import ConfigurationError

TOKEN_BYTES = 32
SHORTEST_TOKEN = 16
TOKEN_FILE = "token"  # noqa: S105 - a file name


@dataclass(frozen=True)
class Tokens:
    """The tokens that open the API, kept as SHA-256 digests."""

    digests: tuple[bytes, ...]

    def actor(self, token: str) -> str | None:
        """Who a token stands for, as the audit trail names it; None for nobody.

        It takes the same time for every token.
        """
        digest = self.digest_of(token)
        return None if digest is None else actor_of(digest)

    def digest_of(self, token: str) -> bytes | None:
        """The digest of a token that opens the API; None for any other, in the same time."""
        digest = _digest(token)
        # every digest is compared, so that the time tells nothing about which one is near
        matches = [hmac.compare_digest(digest, valid) for valid in self.digests]
        return digest if any(matches) else None


def actor_of(digest: bytes) -> str:
    """How the audit trail names who has the token of this digest."""
    return f"token {digest.hex()[:8]}"


def tokens_of(texts: tuple[str, ...]) -> Tokens:
    """Tokens from their texts; ConfigurationError for one that could be guessed."""
    if not texts or any(len(text) < SHORTEST_TOKEN for text in texts):
        raise ConfigurationError(
            f"http.tokens_file: give at least one token, each of {SHORTEST_TOKEN} characters or "
            "more"
        )
    return Tokens(tuple(_digest(text) for text in texts))


def load_tokens(tokens_file: str, storage: Path) -> Tokens:
    """The tokens of `tokens_file`, one a line.

    For "" the node's own, made in `storage` if there is none yet.
    """
    if tokens_file:
        return tokens_of(tuple(_lines(Path(tokens_file))))
    return tokens_of((own_token(storage),))


def own_token(storage: Path) -> str:
    """The node's own token in `<storage>/token`, mode 0600, made if there is none yet.

    ConfigurationError if it cannot be read, or if others can read it.
    """
    path = storage / TOKEN_FILE
    if not path.exists():
        _make_token(path)
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(
            f"others can read {path}: remove it, and a new token is made, or chmod 600 it"
        )
    return first_token(path)


def first_token(path: Path) -> str:
    """The first token of a file, for a command that asks a node.

    ConfigurationError if there is none.
    """
    lines = _lines(path)
    if not lines:
        raise ConfigurationError(f"{path} holds no token: remove it, and the node makes one")
    return lines[0]


def _make_token(path: Path) -> None:
    # linked into place: of two processes that start at once, one makes it and the other takes it
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".token-")  # mode 0600
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        Path(temporary).unlink()


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read tokens from {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not text") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
