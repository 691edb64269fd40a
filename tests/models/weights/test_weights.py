"""Weights: known by name, licence and source; held against what was published and what was
recorded.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import ModelsError, UnknownModel, WeightsChanged, WeightsMissing
from models.weights.hashes import file_sha256, read_record, record_path, sums_of, write_record
from models.weights.manifest import (
    IMISNET_B,
    LITEMEDSAM,
    LOCATOR,
    MANIFEST,
    MEDSAM2_LATEST,
    QWEN3_VL_8B,
    SAM2_TINY,
    SAM_VIT_B,
    known_at,
    known_weights,
    own_weights,
)
from models.weights.weights import State, Weights

BYTES = b"weights" * 400_000  # more than one chunk
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def tiny(tmp_path: Path) -> Weights:
    """A file of weights in the folder `tmp_path`, its hash published."""
    (tmp_path / "tiny.pt").write_bytes(BYTES)
    return Weights("tiny", "a test", "none", "nowhere", sha256=SHA256, file="tiny.pt", repo="o/r")


def test_a_whole_file_is_let_through(tiny: Weights, tmp_path: Path) -> None:
    assert tiny.verify(tmp_path) == SHA256
    assert tiny.verified_path(tmp_path) == tmp_path / "tiny.pt"
    assert tiny.state(tmp_path) == State.HERE


def test_a_changed_file_is_refused_with_both_hashes(tiny: Weights, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt").write_bytes(b"changed")

    with pytest.raises(WeightsChanged) as caught:
        tiny.verify(tmp_path)

    assert caught.value.expected == SHA256
    assert caught.value.found == hashlib.sha256(b"changed").hexdigest()
    assert isinstance(caught.value, ModelsError)


def test_a_file_that_changes_while_we_run_is_read_again(tiny: Weights, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    assert file_sha256(path) == SHA256
    before = path.stat()

    path.write_bytes(b"W" + BYTES[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    assert file_sha256(path) == hashlib.sha256(b"W" + BYTES[1:]).hexdigest()


@pytest.mark.parametrize(
    ("weights", "remedy"),
    [
        (MEDSAM2_LATEST, "Run `segnode models fetch MedSAM2_latest`, or put the file there"),
        (QWEN3_VL_8B, "fetch Qwen3-VL-8B-Instruct`, or put the folder there"),
        (IMISNET_B, "put the file there by hand"),
        (replace(LOCATOR, place=lambda: Path("gone")), "Install the package"),
    ],
    ids=["hub", "folder", "by hand", "package"],
)
def test_missing_weights_say_what_to_do(weights: Weights, remedy: str, tmp_path: Path) -> None:
    assert weights.state(tmp_path) == State.MISSING
    with pytest.raises(WeightsMissing, match=remedy) as caught:
        weights.verify(tmp_path)
    assert str(caught.value.path) in str(caught.value)


def test_what_nobody_published_is_recorded_and_held_from_then_on(
    tiny: Weights, tmp_path: Path
) -> None:
    # Arrange
    unknown = replace(tiny, sha256="")
    assert unknown.verify(tmp_path) == SHA256

    # Act
    unknown.record(tmp_path)
    path = tmp_path / "tiny.pt"
    listed = record_path(path).read_text()
    path.write_bytes(b"changed")

    # Assert
    assert listed == f"{SHA256}  tiny.pt\n"
    with pytest.raises(WeightsChanged, match=SHA256):
        unknown.verify(tmp_path)


def test_a_record_never_outweighs_what_was_published(tiny: Weights, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    path.write_bytes(b"changed")
    write_record(path, sums_of(path))

    with pytest.raises(WeightsChanged):
        tiny.record(tmp_path)

    assert read_record(path) == {"tiny.pt": hashlib.sha256(b"changed").hexdigest()}


def test_another_size_shows_without_reading(tiny: Weights, tmp_path: Path) -> None:
    assert replace(tiny, size_bytes=len(BYTES)).state(tmp_path) == State.HERE
    assert replace(tiny, size_bytes=len(BYTES) + 1).state(tmp_path) == State.CHANGED


@pytest.fixture
def folder(tmp_path: Path) -> Weights:
    """A folder of weights with what a download may leave beside them."""
    home = tmp_path / "owner" / "chat"
    (home / "nested").mkdir(parents=True)
    (home / ".cache").mkdir()
    (home / "config.json").write_text("{}")
    (home / "nested" / "a.safetensors").write_bytes(BYTES)
    (home / ".cache" / "x").write_text("no part")
    (home / "b.safetensors.part").write_text("no part")
    return Weights(
        "chat", "a test", "none", "hub", file="owner/chat", repo="owner/chat", folder=True
    )


def test_a_folder_is_recorded_part_by_part(folder: Weights, tmp_path: Path) -> None:
    digest = folder.record(tmp_path)

    home = tmp_path / "owner" / "chat"
    assert read_record(home) == {
        "config.json": hashlib.sha256(b"{}").hexdigest(),
        "nested/a.safetensors": SHA256,
    }
    assert digest == folder.verify(tmp_path)
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=home, capture_output=True, check=False
    )
    assert checked.returncode == 0
    assert folder.state(tmp_path) == State.HERE


@pytest.mark.parametrize("harm", ["changed", "gone", "added"])
def test_a_folder_with_a_part_changed_gone_or_added_is_refused(
    folder: Weights, tmp_path: Path, harm: str
) -> None:
    folder.record(tmp_path)
    part = tmp_path / "owner" / "chat" / "nested" / "a.safetensors"
    if harm == "changed":
        part.write_bytes(b"changed")
    elif harm == "gone":
        part.unlink()
    else:
        part.with_name("b.safetensors").write_bytes(b"new")

    with pytest.raises(WeightsChanged):
        folder.verify(tmp_path)
    assert folder.state(tmp_path) == (State.CHANGED if harm == "gone" else State.HERE)


def test_an_empty_folder_is_missing(folder: Weights, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "owner" / "chat").mkdir(parents=True)

    assert folder.state(tmp_path / "elsewhere") == State.MISSING


def test_a_file_of_the_sites_own_is_held_against_its_record(tmp_path: Path) -> None:
    path = tmp_path / "fine-tuned.pt"
    path.write_bytes(b"ours")
    own = own_weights(path, "medsam2", "agent.checkpoint")
    assert own.verify() == hashlib.sha256(b"ours").hexdigest()

    write_record(path, sums_of(path))
    path.write_bytes(b"else")

    with pytest.raises(WeightsChanged):
        own.verify()


def test_a_file_of_the_sites_own_that_is_not_there_names_the_setting(tmp_path: Path) -> None:
    own = own_weights(tmp_path / "gone.pt", "medsam2", "agent.checkpoint")

    with pytest.raises(WeightsMissing, match=r"gone\.pt.*agent\.checkpoint"):
        own.verify(tmp_path)


def test_a_known_file_named_by_its_path_is_still_known(tmp_path: Path) -> None:
    assert known_at(tmp_path / "sam2.1_hiera_tiny.pt", tmp_path) is SAM2_TINY
    assert known_at(tmp_path / "else.pt", tmp_path) is None


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry.name)
def test_all_we_know_says_what_it_is(entry: Weights) -> None:
    assert entry.licence
    assert entry.source
    assert entry.used_by
    assert len(entry.sha256) in (0, 64)
    assert set(entry.sha256) <= set("0123456789abcdef")
    assert (entry.place is None) == bool(entry.file)
    assert not entry.url or entry.url.endswith(f"/{entry.file}")


def test_names_and_places_are_taken_once() -> None:
    assert len({each.name.casefold() for each in MANIFEST}) == len(MANIFEST)
    assert len({each.locate() for each in MANIFEST}) == len(MANIFEST)


@pytest.mark.parametrize("entry", [LITEMEDSAM, LOCATOR], ids=lambda entry: entry.name)
def test_all_we_ship_with_is_whole(entry: Weights) -> None:
    assert entry.verified_path().is_file()
    assert entry.state() == State.HERE


def test_the_litemedsam_checkpoint_is_the_published_one() -> None:
    path = LITEMEDSAM.verified_path()

    assert path.stat().st_size == 39_370_479
    assert file_sha256(path) == "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"


@pytest.mark.parametrize(
    ("said", "weights"),
    [
        ("MedSAM2_latest", MEDSAM2_LATEST),
        ("medsam2_latest", MEDSAM2_LATEST),
        ("MedSAM2_latest.pt", MEDSAM2_LATEST),
        ("sam2.1_hiera_tiny", SAM2_TINY),
        ("sam_vit_b", SAM_VIT_B),
        ("sam_vit_b_01ec64.pth", SAM_VIT_B),
        ("Qwen/Qwen3-VL-8B-Instruct", QWEN3_VL_8B),
    ],
)
def test_weights_are_found_as_people_say_them(said: str, weights: Weights) -> None:
    assert known_weights(said) is weights


def test_any_other_repository_of_the_hub_can_be_named() -> None:
    found = known_weights("site/own-model")

    assert (found.name, found.file, found.repo) == ("own-model", "site/own-model", "site/own-model")
    assert found.folder
    assert "not known" in found.licence


@pytest.mark.parametrize("said", ["GPT", "../etc", "a/b/c", "/etc", "a/..", ""])
def test_what_is_no_weights_is_told_the_names(said: str) -> None:
    with pytest.raises(UnknownModel, match="MedSAM2_latest"):
        known_weights(said)
