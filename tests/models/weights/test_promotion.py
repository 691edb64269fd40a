"""Versions of a policy: put in use by one rename, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CannotPromote
from models.weights.hashes import read_record
from models.weights.promotion import PROMOTED, ROLLED_BACK, Change, PolicyVersions
from models.weights.weights import Weights

AT = "2026-11-30T12:00:00+00:00"


def model_of(folder: Path, weights: str) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "toy"}')
    (folder / "sub" / "model.safetensors").write_text(weights)
    return folder


@pytest.fixture
def versions(tmp_path: Path) -> PolicyVersions:
    return PolicyVersions(tmp_path / "weights", "reader")


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return model_of(tmp_path / "first", "one")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return model_of(tmp_path / "second", "two")


def weights_in(versions: PolicyVersions) -> str:
    return (versions.path / "sub" / "model.safetensors").read_text()


def test_a_promoted_model_lies_under_its_name_with_its_hashes_recorded(
    versions: PolicyVersions, first: Path
) -> None:
    version = versions.promote(first, AT, {"patients": 12})
    assert versions.current == version
    assert weights_in(versions) == "one"
    assert set(read_record(versions.path)) == {"config.json", "sub/model.safetensors"}
    assert versions.history == (Change(PROMOTED, version, AT, {"patients": 12}),)


def test_a_promoted_model_is_verified_as_any_other_weights(
    versions: PolicyVersions, first: Path
) -> None:
    versions.promote(first, AT, {})
    weights = Weights("reader", "transformers", "", "", file="reader", folder=True)
    weights.verify(versions.path.parent)


def test_rollback_puts_the_version_before_in_use_again(
    versions: PolicyVersions, first: Path, second: Path
) -> None:
    oldest = versions.promote(first, AT, {})
    versions.promote(second, AT, {})
    assert weights_in(versions) == "two"
    assert versions.rollback(AT, {"by": "a radiologist"}) == oldest
    assert weights_in(versions) == "one"
    assert versions.history[-1] == Change(ROLLED_BACK, oldest, AT, {"by": "a radiologist"})


def test_a_second_rollback_goes_one_further_back(versions: PolicyVersions, tmp_path: Path) -> None:
    for word in ("one", "two", "three"):
        versions.promote(model_of(tmp_path / word, word), AT, {})
    versions.rollback(AT, {})
    versions.rollback(AT, {})
    assert weights_in(versions) == "one"
    with pytest.raises(CannotPromote, match="no earlier version"):
        versions.rollback(AT, {})


def test_after_a_rollback_and_a_promotion_the_way_back_is_the_one_that_was_in_use(
    versions: PolicyVersions, tmp_path: Path
) -> None:
    for word in ("one", "two"):
        versions.promote(model_of(tmp_path / word, word), AT, {})
    versions.rollback(AT, {})
    versions.promote(model_of(tmp_path / "three", "three"), AT, {})
    versions.rollback(AT, {})
    assert weights_in(versions) == "one"


def test_promoting_what_is_in_use_leaves_the_way_back_as_it_was(
    versions: PolicyVersions, first: Path, second: Path
) -> None:
    versions.promote(first, AT, {})
    versions.promote(second, AT, {})
    versions.promote(second, AT, {})
    versions.rollback(AT, {})
    assert weights_in(versions) == "one"


def test_nothing_to_go_back_to_is_said(versions: PolicyVersions, first: Path) -> None:
    with pytest.raises(CannotPromote, match="reader is not put in use: no earlier version"):
        versions.rollback(AT, {})
    versions.promote(first, AT, {})
    with pytest.raises(CannotPromote, match="no earlier version"):
        versions.rollback(AT, {})
    assert weights_in(versions) == "one"


def test_a_folder_without_a_model_is_refused(versions: PolicyVersions, tmp_path: Path) -> None:
    with pytest.raises(CannotPromote, match="no trained model"):
        versions.promote(tmp_path, AT, {})
    assert versions.current is None


def test_weights_that_the_site_put_there_are_never_replaced(
    versions: PolicyVersions, first: Path
) -> None:
    model_of(versions.path, "the site's own")
    with pytest.raises(CannotPromote, match="choose another name"):
        versions.promote(first, AT, {})
    assert weights_in(versions) == "the site's own"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x.versions", "a" * 101, "a\nb"])
def test_a_name_that_is_no_plain_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotPromote, match="letters, digits"):
        PolicyVersions(tmp_path, name)


def test_a_version_whose_files_were_changed_is_not_put_back_in_use(
    versions: PolicyVersions, first: Path, second: Path
) -> None:
    oldest = versions.promote(first, AT, {})
    versions.promote(second, AT, {})
    folder = versions.path.parent / "reader.versions" / oldest
    (folder / "sub" / "model.safetensors").write_text("other")
    with pytest.raises(CannotPromote, match="are not those of that version"):
        versions.rollback(AT, {})
    assert weights_in(versions) == "two"


def test_a_version_whose_files_are_gone_is_named(
    versions: PolicyVersions, first: Path, second: Path
) -> None:
    oldest = versions.promote(first, AT, {})
    versions.promote(second, AT, {})
    (versions.path.parent / "reader.versions" / oldest).rename(versions.path.parent / "away")
    with pytest.raises(CannotPromote, match=f"the files of version {oldest} are gone"):
        versions.rollback(AT, {})


def test_a_copy_that_fails_leaves_the_version_in_use_and_no_half_one(
    versions: PolicyVersions, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.promote(first, AT, {})

    def full_disk(source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.weights.promotion.shutil.copyfile", full_disk)
    with pytest.raises(OSError, match="No space left"):
        versions.promote(second, AT, {})
    assert weights_in(versions) == "one"
    names = {entry.name for entry in (versions.path.parent / "reader.versions").iterdir()}
    assert names == {"history.jsonl", versions.current}


def test_a_model_that_changes_while_it_is_copied_is_not_put_in_use(
    versions: PolicyVersions, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(source: Path, target: Path) -> None:
        target.write_text("another")

    monkeypatch.setattr("models.weights.promotion.shutil.copyfile", another)
    with pytest.raises(CannotPromote, match="changed while they were copied"):
        versions.promote(first, AT, {})
    assert versions.current is None


def test_a_history_that_is_no_history_is_named(versions: PolicyVersions, first: Path) -> None:
    versions.promote(first, AT, {})
    (versions.path.parent / "reader.versions" / "history.jsonl").write_text("{}\n")
    with pytest.raises(CannotPromote, match=r"history\.jsonl cannot be read"):
        versions.rollback(AT, {})
