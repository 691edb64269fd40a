"""The manifest: every file of weights is known by hash, licence and source, and checked before use."""

from __future__ import annotations

import hashlib

import pytest

from models.errors import ModelsError, WeightsChanged, WeightsMissing
from models.weights import LITEMEDSAM, MANIFEST, Weights, file_sha256


def weights(path, sha256):
    """An entry for a file of the test."""
    return Weights("tiny", "a test", sha256, "none", "nowhere", lambda: path)


def test_a_whole_file_is_let_through(tmp_path):
    # Arrange
    path = tmp_path / "tiny.pt"
    path.write_bytes(b"weights" * 400_000)  # more than one chunk
    sha256 = hashlib.sha256(b"weights" * 400_000).hexdigest()

    # Act, Assert
    assert file_sha256(path) == sha256
    assert weights(path, sha256).verified_path() == path


def test_a_changed_file_is_refused_with_both_hashes(tmp_path):
    path = tmp_path / "tiny.pt"
    path.write_bytes(b"changed")

    with pytest.raises(WeightsChanged) as caught:
        weights(path, "0" * 64).verified_path()

    assert caught.value.expected == "0" * 64
    assert caught.value.found == hashlib.sha256(b"changed").hexdigest()
    assert isinstance(caught.value, ModelsError)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsMissing, match="tiny are not at"):
        weights(tmp_path / "gone.pt", "").verified_path()


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry.name)
def test_all_we_ship_with_is_whole_and_says_where_it_comes_from(entry):
    assert entry.verified_path().is_file()
    assert entry.licence
    assert entry.source
    assert len(entry.sha256) == 64


def test_the_litemedsam_checkpoint_is_the_published_one():
    path = LITEMEDSAM.verified_path()

    assert path.stat().st_size == 39_370_479
    assert file_sha256(path) == "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
