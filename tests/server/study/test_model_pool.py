"""The models of a worker: each pair opened once, the longest unused given up, and who may be asked
for.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import LanguageMisconfigured, UnknownModel, WeightsMissing
from models.loaded_models import LoadedModels, open_workbench
from models.pair import ModelPair
from server.compose.choice import choice, model_pool, resources
from server.compose.rules import model_selector
from server.settings import Settings, load_settings
from server.study.model_pool import ModelPool

A, B, C = (ModelPair(name, "fake") for name in "abc")


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a site with its own storage; MedSAM2's weights are in its folder."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "MedSAM2_latest.pt").write_bytes(b"weights")

    def load(**said: str) -> Settings:
        environment = {f"SEGNODE_{key.upper()}": value for key, value in said.items()}
        return load_settings((), {"SEGNODE_STORAGE__DIR": str(tmp_path), **environment})

    return load


def opening(opened: list[ModelPair]) -> Callable[[ModelPair], LoadedModels]:
    """Opens fakes, and notes whose."""

    def open_bench(pair: ModelPair) -> LoadedModels:
        opened.append(pair)
        return open_workbench("threshold", "fake")

    return open_bench


def test_a_pair_is_opened_once() -> None:
    opened: list[ModelPair] = []
    kept = ModelPool(opening(opened), at_once=2)

    assert kept.bench(A) is kept.bench(A)
    assert kept.bench(B) is not kept.bench(A)
    assert opened == [A, B]


def test_the_longest_unused_is_given_up() -> None:
    opened: list[ModelPair] = []
    kept = ModelPool(opening(opened), at_once=2)

    for pair in (A, B, A, C, A, B):
        kept.bench(pair)

    assert opened == [A, B, C, B]


def test_what_is_given_up_is_gone_before_the_next_is_loaded() -> None:
    """Two large models may not fit where one does."""
    models: list[weakref.ref[object]] = []
    alive: list[int] = []

    def open_bench(_: ModelPair) -> LoadedModels:
        alive.append(sum(model() is not None for model in models))
        bench = open_workbench("threshold", "fake")
        models.append(weakref.ref(bench.segmenter))
        return bench

    kept = ModelPool(open_bench, at_once=1)

    for pair in (A, B, C):
        kept.bench(pair)

    assert alive == [0, 0, 0]


def test_pairs_with_one_segmenter_share_it(settings_of: Callable[..., Settings]) -> None:
    kept = model_pool(settings_of())

    one, other = (kept.bench(ModelPair(policy, "fake")) for policy in ("threshold", "locator"))

    assert one.policy.name != other.policy.name
    assert one.segmenter is other.segmenter


def test_a_pair_that_does_not_open_is_tried_again() -> None:
    def missing(_: ModelPair) -> LoadedModels:
        raise WeightsMissing("MedSAM2_latest", Path("gone"), "fetch them")

    kept = ModelPool(missing, at_once=1)

    for _ in range(2):
        with pytest.raises(WeightsMissing):
            kept.bench(A)


def test_a_worker_opens_by_name(settings_of: Callable[..., Settings]) -> None:
    bench = model_pool(settings_of()).bench(ModelPair("threshold", "fake"))

    assert (bench.policy.name, bench.segmenter.name) == ("threshold", "fake")


def test_a_request_that_names_nobody_gets_the_sites_own(
    settings_of: Callable[..., Settings],
) -> None:
    assert model_selector(settings_of())(None, None) == ModelPair("locator", "medsam2")
    assert model_selector(settings_of(agent__segmenter="litemedsam"))(None, None) == ModelPair(
        "locator", "litemedsam"
    )


def test_a_request_may_name_one_or_both(settings_of: Callable[..., Settings]) -> None:
    pair = model_selector(settings_of())

    assert pair("threshold", "fake") == ModelPair("threshold", "fake")
    assert pair("threshold", None) == ModelPair("threshold", "medsam2")
    assert pair(None, "litemedsam") == ModelPair("locator", "litemedsam")


@pytest.mark.parametrize(
    ("policy", "segmenter", "error"),
    [
        ("gpt", None, UnknownModel),
        (None, "gpt", UnknownModel),
        (None, "sam2-tiny", WeightsMissing),
        ("transformers", None, LanguageMisconfigured),
        ("openai", None, LanguageMisconfigured),
    ],
)
def test_who_is_not_here_is_refused(
    settings_of: Callable[..., Settings],
    policy: str | None,
    segmenter: str | None,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        model_selector(settings_of())(policy, segmenter)


def test_the_sites_own_pair_is_not_refused_before_it_is_worked_with(
    settings_of: Callable[..., Settings],
) -> None:
    # a study that arrives by itself must be taken, whatever is installed
    assert (
        model_selector(settings_of(agent__segmenter="sam2-tiny"))(None, None).segmenter
        == "sam2-tiny"
    )


def test_a_checkpoint_is_only_the_configured_segmenters(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = settings_of(agent__segmenter="medsam2", agent__checkpoint="MedSAM2_CTLesion")

    assert resources(settings).checkpoint == tmp_path / "weights" / "MedSAM2_CTLesion.pt"
    assert resources(settings, "medsam2").checkpoint == resources(settings).checkpoint
    assert resources(settings, "sam2-tiny").checkpoint is None


def test_a_checkpoint_may_be_a_file_anywhere(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    own = tmp_path / "own.pt"
    own.write_bytes(b"ours")

    def checkpoint(said: str) -> Path | None:
        settings = settings_of(agent__segmenter="medsam2", agent__checkpoint=said)
        return resources(settings).checkpoint

    assert checkpoint(str(own)) == own
    assert checkpoint("gone.pt") == Path("gone.pt")
    assert checkpoint("") is None


def test_what_models_may_use_is_what_the_site_says(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    said = resources(
        settings_of(
            models__device="cuda:1",
            models__precision="bfloat16",
            models__memory_bytes="7",
            language__model="m",
            language__dialect="think_action",
            language__endpoints='["http://10.0.0.7/v1"]',
            language__allowed_hosts='["10.0.0.7"]',
            language__api_key_file="/run/key",
        )
    )

    assert (said.device, said.precision, said.memory_bytes) == ("cuda:1", "bfloat16", 7)
    assert said.weights_dir == tmp_path / "weights"
    assert (said.language.model, said.language.dialect) == ("m", "think_action")
    assert said.language.endpoints == ("http://10.0.0.7/v1",)
    assert said.language.allowed_hosts == ("10.0.0.7",)
    assert said.language.api_key_file == Path("/run/key")
    assert said.language.prompts is None


def test_the_choice_says_why(settings_of: Callable[..., Settings]) -> None:
    assert "MedSAM2_latest.pt is there" in str(choice(settings_of()))
