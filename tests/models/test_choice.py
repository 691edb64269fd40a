"""What "auto" means: the best of what is installed, and the reason in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.choice import choose, located_model
from models.runtime.resources import LanguageOptions, Resources

SERVER = LanguageOptions(model="qwen", endpoints=("http://10.0.0.7:8000/v1",))


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    """A folder of weights with MedSAM2 and a language model in it."""
    (tmp_path / "MedSAM2_latest.pt").write_bytes(b"weights")
    (tmp_path / "Qwen" / "Qwen3-VL-8B-Instruct").mkdir(parents=True)
    return tmp_path


def test_names_that_are_said_are_taken_as_they_are(weights_dir: Path) -> None:
    chosen = choose("threshold", "no-such", Resources(weights_dir=weights_dir, language=SERVER))

    assert (chosen.policy, chosen.segmenter, chosen.reasons) == ("threshold", "no-such", ())
    assert str(chosen) == "threshold + no-such"


def test_with_nothing_installed_the_embedded_models_work(tmp_path: Path) -> None:
    chosen = choose("auto", "auto", Resources(weights_dir=tmp_path))

    assert (chosen.policy, chosen.segmenter) == ("locator", "litemedsam")
    assert "MedSAM2_latest is not in models.dir" in str(chosen)
    assert "[language] names no model" in str(chosen)


def test_medsam2_is_taken_where_its_weights_are(weights_dir: Path) -> None:
    chosen = choose("locator", "auto", Resources(weights_dir=weights_dir))

    assert chosen.segmenter == "medsam2"
    assert chosen.reasons == (f"segmenter medsam2: {weights_dir / 'MedSAM2_latest.pt'} is there",)


@pytest.mark.parametrize(
    ("language", "policy"),
    [
        (SERVER, "openai"),
        (LanguageOptions(model="qwen"), "locator"),
        (LanguageOptions(endpoints=SERVER.endpoints), "locator"),
        (LanguageOptions(model="Qwen/Qwen3-VL-8B-Instruct"), "transformers"),
        (LanguageOptions(model="Qwen/Qwen2.5-VL-7B-Instruct"), "locator"),
    ],
    ids=["server", "name alone", "server alone", "folder of weights", "no such folder"],
)
def test_the_policy_follows_the_language_model(
    weights_dir: Path, language: LanguageOptions, policy: str
) -> None:
    language = located_model(language, weights_dir)

    chosen = choose("auto", "fake", Resources(weights_dir=weights_dir, language=language))

    assert chosen.policy == policy
    assert policy in chosen.reasons[0]


def test_a_server_comes_before_a_folder(weights_dir: Path) -> None:
    language = LanguageOptions(model=str(weights_dir), endpoints=SERVER.endpoints)

    assert choose("auto", "fake", Resources(language=language)).policy == "openai"


def test_a_model_named_by_a_path_of_its_own_stays_so(weights_dir: Path, tmp_path: Path) -> None:
    options = LanguageOptions(model=str(tmp_path))

    assert located_model(options, weights_dir / "elsewhere") == options
    assert located_model(LanguageOptions(), weights_dir).model == ""
