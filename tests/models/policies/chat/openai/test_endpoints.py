"""Which server an episode is asked at: its own while that one is well, else the next in turn."""

from __future__ import annotations

import httpx
import pytest

from models.policies.chat.openai.endpoints import REST_S, Endpoint, Endpoints
from models.policies.chat.openai.wire import ServerDialect


class Pool:
    """Three servers and a clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.servers = [
            Endpoint(httpx.URL(f"http://gpu{n}:8000/v1/"), ServerDialect("m")) for n in range(3)
        ]
        self.endpoints = Endpoints(self.servers, lambda: self.now_s)

    def asked(self, episode: object) -> int:
        """The number of the server that an episode is sent to."""
        return self.servers.index(self.endpoints.next(episode))


@pytest.fixture
def pool() -> Pool:
    return Pool()


def test_episodes_go_round_and_stay_where_they_began(pool: Pool) -> None:
    assert [pool.asked(episode) for episode in "abcd"] == [0, 1, 2, 0]
    assert [pool.asked(episode) for episode in "dcba"] == [0, 2, 1, 0]


def test_one_that_failed_is_left_alone_until_it_has_rested(pool: Pool) -> None:
    assert pool.asked("a") == 0

    pool.endpoints.failed(pool.servers[0])

    assert [pool.asked(episode) for episode in ("a", "b", "c")] == [1, 2, 1]
    pool.now_s += REST_S
    assert pool.asked("d") == 0  # it has waited longest
    assert pool.asked("a") == 1  # where it went, it stays


def test_where_all_rest_the_one_that_rests_shortest_is_asked(pool: Pool) -> None:
    for server, rest_s in zip(pool.servers, (9.0, 3.0, 6.0), strict=True):
        pool.endpoints.failed(server, rest_s)

    assert not pool.endpoints.another()
    assert pool.asked("a") == 1
    pool.now_s += 3.0
    assert pool.endpoints.another()


def test_one_that_answers_is_well_at_once(pool: Pool) -> None:
    for server in pool.servers:
        pool.endpoints.failed(server)

    pool.endpoints.answered(pool.servers[2])

    assert pool.endpoints.another()
    assert pool.asked("a") == 2


def test_a_server_is_called_by_its_host_and_asked_below_its_base(pool: Pool) -> None:
    assert pool.servers[1].name == "gpu1:8000"
    assert pool.servers[1].completions_url == "http://gpu1:8000/v1/chat/completions"
