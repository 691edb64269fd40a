"""Fetching one file from a real HTTP server that cuts, lies, refuses and sends on: whole or not at
all.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

import pytest

from models.errors import FetchFailed
from models.weights.fetching import ATTEMPTS, Fetcher, Remote, open_client
from tests.support import mirrors

CONTENT = bytes(range(256)) * 4096  # a megabyte: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REST = "/w.pt"


class Slept(list[float]):
    """Waits that were asked for, in seconds; none is waited."""

    __call__ = list.append


@pytest.fixture
def slept() -> Slept:
    return Slept()


@pytest.fixture
def fetcher(mirror: mirrors.Mirror, slept: Slept) -> Iterator[Fetcher]:
    """A fetcher that waits for nothing; the mirror holds CONTENT at REST."""
    mirror.files[REST] = CONTENT
    with open_client() as client:
        yield Fetcher(client, sleep=slept)


def cut_after(count: Any) -> Any:
    """A fault: the connection ends in the middle of the file."""
    return lambda handler, content: handler.say(200, content, {"ETag": '"v1"'}, sent=count)


def says(status: Any, body: bytes = b"", **headers: Any) -> Any:
    """A fault: another status in place of the file."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.say(status, body, named)


def left_in(folder: Path) -> Any:
    """The names of the files in a folder."""
    return sorted(each.name for each in folder.iterdir())


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    found = fetcher.fetch(Remote(mirror.url + REST), tmp_path / "deep" / "w.pt")

    assert found == SHA256
    assert (tmp_path / "deep" / "w.pt").read_bytes() == CONTENT
    assert left_in(tmp_path / "deep") == ["w.pt"]


def test_progress_is_told_with_the_size_of_the_whole(
    mirror: mirrors.Mirror, tmp_path: Path
) -> None:
    mirror.files[REST] = CONTENT
    told = []

    with open_client() as client:
        Fetcher(client, lambda *now: told.append(now)).fetch(
            Remote(mirror.url + REST), tmp_path / "w.pt"
        )

    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert len(told) > 2
    assert told == sorted(told)


def test_a_cut_connection_goes_on_where_it_broke_off(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path, slept: Slept
) -> None:
    mirror.faults = [cut_after(600_000)]

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256

    resumed = mirror.asked[1].headers
    start = int(resumed["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 600_000
    assert resumed["If-Range"] == '"v1"'
    assert len(slept) == 1


def test_a_killed_fetch_goes_on_in_the_next_process(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    # Arrange: what a process that was killed leaves
    (tmp_path / "w.pt.part").write_bytes(CONTENT[:500_000])
    note = {"etag": '"v1"', "size_bytes": len(CONTENT), "sha256": ""}
    (tmp_path / "w.pt.part.json").write_text(json.dumps(note))

    # Act
    found = fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt")

    # Assert
    assert found == SHA256
    assert mirror.asked[0].headers["Range"] == "bytes=500000-"
    assert left_in(tmp_path) == ["w.pt"]


def test_a_part_that_was_whole_already_is_only_put_in_place(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    (tmp_path / "w.pt.part").write_bytes(CONTENT)
    note = {"etag": '"v1"', "size_bytes": len(CONTENT), "sha256": SHA256}
    (tmp_path / "w.pt.part.json").write_text(json.dumps(note))

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256
    assert mirror.asked == []


@pytest.mark.parametrize(
    "note",
    ['{"etag": "", "size_bytes": 9, "sha256": ""}', "no JSON", '{"else": 1}', None],
    ids=["no etag", "damaged", "foreign", "gone"],
)
def test_a_part_of_nobody_knows_what_is_begun_anew(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path, note: str | None
) -> None:
    (tmp_path / "w.pt.part").write_bytes(b"x" * 500_000)
    if note is not None:
        (tmp_path / "w.pt.part.json").write_text(note)

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256
    assert "Range" not in mirror.asked[0].headers


def test_a_file_that_changed_meanwhile_comes_anew(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    (tmp_path / "w.pt.part").write_bytes(b"x" * 500_000)
    note = {"etag": '"v0"', "size_bytes": len(CONTENT), "sha256": ""}
    (tmp_path / "w.pt.part.json").write_text(json.dumps(note))

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256


def test_a_server_without_ranges_sends_it_all_again(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    mirror.ranges = False
    mirror.faults = [cut_after(600_000)]

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256
    assert len(mirror.asked) == 2


def test_another_range_than_asked_for_is_not_taken(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    wrong = says(206, b"zzz", Content_Range="bytes 7-9/10", ETag='"v1"')
    mirror.faults = [cut_after(600_000), wrong]

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256


def test_a_part_longer_than_the_file_is_begun_anew(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    (tmp_path / "w.pt.part").write_bytes(CONTENT * 2)
    note = {"etag": '"v1"', "size_bytes": len(CONTENT), "sha256": ""}
    (tmp_path / "w.pt.part.json").write_text(json.dumps(note))

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_server_that_is_busy_is_asked_again(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path, slept: Slept, status: int
) -> None:
    mirror.faults = [says(status), says(status, Retry_After="7")]

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256
    assert slept == [1.0, 7.0]


def test_waits_grow_and_end(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path, slept: Slept
) -> None:
    mirror.faults = [says(500)] * 99

    with pytest.raises(FetchFailed, match=rf"answers 500; tried {ATTEMPTS} times.*by hand"):
        fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt")

    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_tries_that_get_on_are_not_counted(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    steps = ATTEMPTS + 3

    def next_step(handler: Any, content: Any) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        said = {"ETag": '"v1"', "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        handler.say(206 if start else 200, content[start:], said, sent=len(content) // steps)

    mirror.faults = [next_step] * (steps - 1)

    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256


def test_nobody_there_says_what_to_do_without_the_internet(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    with pytest.raises(FetchFailed, match=r"tried .*by hand and run `segnode models verify`"):
        fetcher.fetch(Remote("http://127.0.0.1:1/w.pt"), tmp_path / "w.pt")


def test_a_proxy_that_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mirror: mirrors.Mirror
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("HTTPS_PROXY", mirror.url)
    monkeypatch.setenv("https_proxy", mirror.url)
    with (
        open_client() as client,
        pytest.raises(FetchFailed, match="the proxy that the environment names"),
    ):
        Fetcher(client, sleep=lambda _: None).fetch(
            Remote("https://hub.invalid/w.pt"), tmp_path / "w.pt"
        )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "no such file"),
        (401, r"Accept its licence at http://hub/o/r, and set models\.token_file"),
        (403, r"Accept its licence"),
        (410, "answers 410"),
    ],
)
def test_a_refusal_says_what_to_do_and_is_not_repeated(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path, slept: Slept, status: int, said: str
) -> None:
    mirror.faults = [says(status)]

    with pytest.raises(FetchFailed, match=said):
        fetcher.fetch(Remote(mirror.url + REST, page="http://hub/o/r"), tmp_path / "w.pt")
    assert slept == []
    assert not (tmp_path / "w.pt").exists()


def test_a_log_in_page_is_no_file(mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path) -> None:
    mirror.faults = [says(200, b"<html>", Content_Type="text/html; charset=utf-8")]

    with pytest.raises(FetchFailed, match="web page"):
        fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt")
    assert not (tmp_path / "w.pt").exists()


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"sha256": "0" * 64}, f"SHA-256 is {SHA256}, expected {'0' * 64}"),
        ({"git_sha1": "0" * 40}, "hash in git"),
        ({"size_bytes": 7}, "has 1048576 bytes, expected 7"),
    ],
    ids=["sha256", "git", "size"],
)
def test_what_is_not_the_file_is_discarded(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path, known: Any, said: str
) -> None:
    with pytest.raises(FetchFailed, match=f"not the file: .*{said}.*discarded"):
        fetcher.fetch(Remote(mirror.url + REST, **known), tmp_path / "w.pt")
    assert left_in(tmp_path) == []


def test_the_hash_that_the_hub_states_is_held_against_what_comes(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    # Arrange: the hub tells the hash and sends on to another host
    mirror.redirects["/hub/w.pt"] = REST
    mirror.extra = {"X-Linked-ETag": f'"{"0" * 64}"'}

    # Act, Assert
    with pytest.raises(FetchFailed, match=f"expected {'0' * 64}"):
        fetcher.fetch(Remote(f"{mirror.url}/hub/w.pt"), tmp_path / "w.pt")
    mirror.extra = {"X-Linked-ETag": f'"{SHA256}"'}
    assert fetcher.fetch(Remote(f"{mirror.url}/hub/w.pt"), tmp_path / "w.pt") == SHA256


def test_a_hash_for_an_etag_is_held_too(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    mirror.etags[REST] = f'"{"a" * 64}"'

    with pytest.raises(FetchFailed, match="expected aaaa"):
        fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt")


def test_redirects_without_end_are_given_up(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    mirror.redirects["/loop"] = "/loop"

    with pytest.raises(FetchFailed, match=r"models\.hub"):
        fetcher.fetch(Remote(f"{mirror.url}/loop"), tmp_path / "w.pt")


def test_the_token_goes_to_the_hub_and_nowhere_else(mirror: mirrors.Mirror, tmp_path: Path) -> None:
    # Arrange: the same server under another name is another host
    mirror.files[REST] = CONTENT
    elsewhere = mirror.url.replace("127.0.0.1", "localhost")
    mirror.redirects["/hub/w.pt"] = elsewhere + REST

    # Act
    with open_client(mirror.url, "secret") as client:
        fetcher = Fetcher(client)
        fetcher.fetch(Remote(f"{mirror.url}/hub/w.pt"), tmp_path / "a.pt")
        fetcher.fetch(Remote(elsewhere + REST), tmp_path / "b.pt")

    # Assert
    sent = [each.headers.get("Authorization") for each in mirror.asked]
    assert sent == ["Bearer secret", None, None]


def test_a_full_disk_is_said_before_it_is_filled(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(FetchFailed, match=r"no room in .*models\.dir"):
        fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt")
    assert not (tmp_path / "w.pt").exists()


def test_a_disk_that_fills_up_keeps_what_is_there(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> Never:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(FetchFailed, match="no room"):
            fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt")

    mirror.asked.clear()
    assert fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt") == SHA256
    assert mirror.asked == []


def test_a_place_that_cannot_be_written_is_named(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")

    with pytest.raises(FetchFailed, match="cannot write"):
        fetcher.fetch(Remote(mirror.url + REST), tmp_path / "taken" / "w.pt")


def test_two_processes_do_not_write_one_file(
    mirror: mirrors.Mirror, fetcher: Fetcher, tmp_path: Path
) -> None:
    with (tmp_path / "w.pt.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(FetchFailed, match="another process"):
            fetcher.fetch(Remote(mirror.url + REST), tmp_path / "w.pt")


def test_an_address_of_another_kind_names_the_setting(fetcher: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"models\.hub"):
        fetcher.fetch(Remote("ftp://hub/w.pt"), tmp_path / "w.pt")
