"""Weights from a hub: single files, whole folders, hosts of their own; recorded as they came."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import FetchFailed
from models.weights.fetching import Fetcher, open_client
from models.weights.hashes import read_record
from models.weights.hub import Hub
from models.weights.manifest import CLIP_TOKENIZER, IMISNET_B, LOCATOR, MEDSAM2_LATEST, hub_folder
from models.weights.weights import State, Weights
from tests.support import mirrors

CONTENT = b"weights" * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CHAT = hub_folder("Qwen/Tiny-VL", "Apache-2.0")
FILES = {
    "config.json": b"{}",
    "nested/model one.safetensors": CONTENT,
    ".gitattributes": b"not wanted",
}


@pytest.fixture
def hub(mirror: mirrors.Mirror) -> Iterator[Hub]:
    """A hub that is the mirror."""
    with open_client() as client:
        yield Hub(mirror.url, Fetcher(client, sleep=lambda _: None))


def unheard(_: Any) -> None:
    """Told of files, and keeps it to itself."""


def test_a_file_comes_by_the_hubs_path_and_its_hash_is_recorded(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    mirror.files["/wanglab/MedSAM2/resolve/main/MedSAM2_latest.pt"] = CONTENT
    told: list[Any] = []

    path = hub.fetch(MEDSAM2_LATEST, tmp_path, told.append)

    assert path == tmp_path / "MedSAM2_latest.pt"
    assert read_record(path) == {"MedSAM2_latest.pt": SHA256}
    assert MEDSAM2_LATEST.verify(tmp_path) == SHA256
    assert told == ["MedSAM2_latest.pt"]


def test_a_file_with_a_published_hash_is_held_against_it(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    published = replace(MEDSAM2_LATEST, sha256="0" * 64)
    mirror.files["/wanglab/MedSAM2/resolve/main/MedSAM2_latest.pt"] = CONTENT

    with pytest.raises(FetchFailed, match="not the file"):
        hub.fetch(published, tmp_path, unheard)
    assert published.state(tmp_path) is State.MISSING


def test_a_file_of_another_host_comes_from_there(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    mirror.files["/segment_anything/sam.pth"] = CONTENT
    sam = Weights(
        "sam",
        "sam",
        "none",
        "its host",
        file="sam.pth",
        url=f"{mirror.url}/segment_anything/sam.pth",
    )

    assert hub.fetch(sam, tmp_path, unheard).read_bytes() == CONTENT


def test_a_gated_file_names_the_page_where_its_licence_is_accepted(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    mirror.faults = [lambda handler, _: handler.say(401, b"")]

    with pytest.raises(FetchFailed, match=f"Accept its licence at {mirror.url}/wanglab/MedSAM2,"):
        hub.fetch(MEDSAM2_LATEST, tmp_path, unheard)


@pytest.mark.parametrize("weights", [IMISNET_B, LOCATOR], ids=lambda each: each.name)
def test_what_nobody_publishes_is_not_fetched(hub: Hub, tmp_path: Path, weights: Any) -> None:
    with pytest.raises(FetchFailed, match="it is not fetched"):
        hub.fetch(weights, tmp_path, unheard)


def test_a_folder_comes_whole_with_what_lies_deeper(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    mirror.hold("Qwen/Tiny-VL", FILES, large={"nested/model one.safetensors"})

    home = hub.fetch(CHAT, tmp_path, unheard)

    assert home == tmp_path / "Qwen" / "Tiny-VL"
    assert (home / "nested" / "model one.safetensors").read_bytes() == CONTENT
    assert read_record(home) == {
        "config.json": hashlib.sha256(b"{}").hexdigest(),
        "nested/model one.safetensors": SHA256,
    }
    assert not (home / ".gitattributes").exists()
    assert CHAT.verify(tmp_path)


def test_what_is_whole_is_not_fetched_again(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    mirror.hold("Qwen/Tiny-VL", FILES, large={"nested/model one.safetensors"})
    home = hub.fetch(CHAT, tmp_path, unheard)
    (home / "config.json").write_bytes(b"damaged")
    mirror.asked.clear()

    hub.fetch(CHAT, tmp_path, unheard)

    assert (home / "config.json").read_bytes() == b"{}"
    assert [each.path.rpartition("/")[2] for each in mirror.asked[1:]] == ["config.json"]


@pytest.mark.parametrize("name", ["config.json", "nested/model one.safetensors"])
def test_a_file_that_is_not_what_the_list_says_is_refused(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path, name: str
) -> None:
    mirror.hold("Qwen/Tiny-VL", FILES, large={"nested/model one.safetensors"})
    mirror.files[f"/Qwen/Tiny-VL/resolve/main/{name}"] = b"!" * len(FILES[name])

    with pytest.raises(FetchFailed, match="not the file"):
        hub.fetch(CHAT, tmp_path, unheard)
    assert read_record(tmp_path / "Qwen" / "Tiny-VL") == {}


@pytest.mark.parametrize("name", ["../../escaped.json", "/etc/escaped.json"])
def test_a_name_outside_the_folder_is_refused(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path, name: str
) -> None:
    mirror.hold("Qwen/Tiny-VL", {name: b"x"})

    with pytest.raises(FetchFailed, match="outside itself"):
        hub.fetch(CHAT, tmp_path / "weights", unheard)
    assert not list(tmp_path.rglob("escaped.json"))


def test_a_list_in_pages_is_read_to_its_end_but_not_elsewhere(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    # Arrange: one file a page; the last page leads to another host
    mirror.hold("Qwen/Tiny-VL", {"a.json": b"a", "b.json": b"b"})
    tree = json.loads(mirror.trees["/api/models/Qwen/Tiny-VL/tree/main"])
    files = [each for each in tree if each["type"] == "file"]

    def page(entry: Any, following: Any) -> Any:
        body = json.dumps([entry]).encode()
        return lambda handler, _: handler.say(200, body, {"Link": f'<{following}>; rel="next"'})

    mirror.faults = [
        page(files[0], "/api/models/Qwen/Tiny-VL/tree/main?cursor=2"),
        None,
        page(files[1], "http://203.0.113.7/evil"),
    ]

    # Act
    home = hub.fetch(CHAT, tmp_path, unheard)

    # Assert
    assert set(read_record(home)) == {"a.json", "b.json"}


def test_only_the_files_that_are_needed_come(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    files = {"vocab.json": b"{}", "merges.txt": b"#", "pytorch_model.bin": CONTENT}
    mirror.hold("openai/clip-vit-base-patch32", files)

    home = hub.fetch(CLIP_TOKENIZER, tmp_path, unheard)

    assert sorted(each.name for each in home.iterdir()) == [
        "SHA256SUMS",
        "merges.txt",
        "vocab.json",
    ]
    assert CLIP_TOKENIZER.state(tmp_path) is State.HERE


def test_a_repository_without_a_file_that_is_needed_says_so(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path
) -> None:
    mirror.hold("openai/clip-vit-base-patch32", {"vocab.json": b"{}"})

    with pytest.raises(FetchFailed, match=r"lacks merges\.txt"):
        hub.fetch(CLIP_TOKENIZER, tmp_path, unheard)


@pytest.mark.parametrize("answer", [b"no JSON", b'{"error": 1}', b"[1]", b'[{"type": "file"}]'])
def test_an_answer_that_is_no_list_is_named(
    mirror: mirrors.Mirror, hub: Hub, tmp_path: Path, answer: bytes
) -> None:
    mirror.trees["/api/models/Qwen/Tiny-VL/tree/main"] = answer

    with pytest.raises(FetchFailed, match="no list of files"):
        hub.fetch(CHAT, tmp_path, unheard)
