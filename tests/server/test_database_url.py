"""What is wrong with a database's URL is said in a sentence that holds nothing of it."""

from __future__ import annotations

import pytest

from server.database_url import WRITE_IT, fault_of

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost/segnode",
        "postgresql+psycopg://node:p%40ss@db.example.org:5432/segnode",
        "postgresql://node:p:w/x@db/segnode",  # : and / in a password are read either way
        "postgresql://node@[fe80::1%eth0]:5432/segnode",
        "postgresql:///segnode?host=/var/run/postgresql&connect_timeout=5",
        "postgresql://db:65535/segnode?sslmode=require",
    ],
)
def test_what_postgresql_takes_is_taken(url: str) -> None:
    assert fault_of(url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", 'must be "embedded" or a PostgreSQL URL'),
        (f"mysql://node:{SECRET}@db/segnode", 'must be "embedded" or a PostgreSQL URL'),
        (f" postgresql://node:{SECRET}@db/segnode", 'must be "embedded" or a PostgreSQL URL'),
        (f"postgresql://node:a@{SECRET}@db/segnode", "its host or port cannot be one"),
        (f"postgresql://node:{SECRET}@db:0/segnode", "its host or port cannot be one"),
        (f"postgresql://node:{SECRET}@db:65536/segnode", "its host or port cannot be one"),
        (f"postgresql://node:{SECRET}@db:/segnode", "its host or port cannot be one"),
        (f"postgresql://node:{SECRET}@db:５４３２/segnode", "its host or port cannot be one"),
        (f"postgresql://node:{SECRET}@dätenbank/segnode", "its host or port cannot be one"),
        (f"postgresql://db/segnode?password={SECRET}", "the password does not belong behind the ?"),
        (f"postgresql://db/segnode?pass={SECRET}", "none that PostgreSQL knows"),
    ],
)
def test_a_fault_is_named_without_the_url(url: str, fault: str) -> None:
    sentence = fault_of(url)

    assert sentence is not None
    assert fault in sentence
    assert SECRET not in sentence
    assert "db" not in sentence.replace(WRITE_IT, "")
