"""Names to models: every name builds, an unknown one is told the names there are, and nothing loads
early.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.fakes import FakeSegmenter, ThresholdPolicy
from agent.language.policy import LanguagePolicy
from agent.protocol.dialects import Dialect
from models.errors import HostNotAllowed, UnknownModel, WeightsMissing
from models.registry import (
    open_segmenter,
    policy_entry,
    require_here,
    segmenter_entry,
    segmenter_weights,
    weights_of,
)
from models.runtime.resources import LanguageOptions, Resources
from models.weights.manifest import (
    LITEMEDSAM,
    LOCATOR,
    MEDSAM2_CT_LESION,
    MEDSAM2_LATEST,
    SAM2_LARGE,
)
from models.weights.weights import State


def test_the_fakes_are_built() -> None:
    assert isinstance(open_segmenter("fake", Resources()), FakeSegmenter)
    assert isinstance(policy_entry("threshold").build(Resources()), ThresholdPolicy)


@pytest.mark.parametrize(
    ("look_up", "kind", "known"),
    [(segmenter_entry, "segmenter", "litemedsam"), (policy_entry, "policy", "locator")],
)
def test_an_unknown_name_is_told_the_known_ones(look_up: Any, kind: str, known: str) -> None:
    with pytest.raises(UnknownModel, match=f"no {kind} called 'gpt-9'.*{known}"):
        look_up("gpt-9")


def test_the_weights_in_use_are_the_policys_then_the_segmenters() -> None:
    nothing = Resources()

    assert weights_of(policy="locator", segmenter="litemedsam", resources=nothing) == (
        LOCATOR,
        LITEMEDSAM,
    )
    assert weights_of(policy="threshold", segmenter="fake", resources=nothing) == ()
    # the locator reads LiteMedSAM's encodings, and brings that encoder along where another network
    # draws
    assert weights_of(policy="locator", segmenter="medsam2", resources=nothing) == (
        LOCATOR,
        LITEMEDSAM,
        MEDSAM2_LATEST,
    )
    assert weights_of(policy="openai", segmenter="sam2-large", resources=nothing) == (SAM2_LARGE,)


def test_a_language_model_in_this_process_is_a_folder_of_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    resources = Resources(language=LanguageOptions(model=str(tmp_path)))

    (folder,) = weights_of(policy="transformers", segmenter="fake", resources=resources)

    assert folder.locate() == tmp_path
    assert folder.state() is State.HERE


def test_a_checkpoint_that_the_site_names_is_used_in_place_of_the_known_one(tmp_path: Path) -> None:
    own = Resources(weights_dir=tmp_path, checkpoint=tmp_path / "own.pt")
    sibling = Resources(weights_dir=tmp_path, checkpoint=tmp_path / "MedSAM2_CTLesion.pt")

    assert segmenter_weights("medsam2", Resources(weights_dir=tmp_path)) is MEDSAM2_LATEST
    named = segmenter_weights("medsam2", own)
    assert named is not None
    assert named.locate() == tmp_path / "own.pt"
    assert segmenter_weights("medsam2", sibling) is MEDSAM2_CT_LESION
    # what a package carries is the only file that fits it
    assert segmenter_weights("litemedsam", own) is LITEMEDSAM


@pytest.mark.parametrize(
    ("policy", "segmenter", "said"),
    [
        ("locator", "medsam2", "segnode models fetch MedSAM2_latest"),
        ("transformers", "fake", r"language\.model"),
    ],
)
def test_a_pair_whose_weights_are_not_here_is_refused_before_it_is_opened(
    tmp_path: Path, policy: str, segmenter: str, said: str
) -> None:
    language = LanguageOptions(model=str(tmp_path / "gone"))
    resources = Resources(weights_dir=tmp_path, language=language)

    with pytest.raises(WeightsMissing, match=said):
        require_here(policy=policy, segmenter=segmenter, resources=resources)


def test_a_pair_that_is_here_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "MedSAM2_latest.pt").write_bytes(b"")

    require_here(policy="locator", segmenter="medsam2", resources=Resources(weights_dir=tmp_path))


def test_the_language_model_is_asked_as_the_site_says(tmp_path: Path) -> None:
    said = LanguageOptions(
        model="m",
        endpoints=("http://127.0.0.1:9/v1",),
        allowed_hosts=("127.0.0.1",),
        dialect=Dialect.THINK_ACTION,
    )

    policy = policy_entry("openai").build(Resources(language=said))

    assert isinstance(policy, LanguagePolicy)
    assert policy.name == "openai"
    assert (policy._settings.dialect, policy._settings.native_tools) == ("think_action", True)


def test_no_language_model_leaves_for_a_host_that_nobody_allowed() -> None:
    said = LanguageOptions(model="m", endpoints=("http://203.0.113.7/v1",))

    with pytest.raises(HostNotAllowed):
        policy_entry("openai").build(Resources(language=said))


def test_asking_what_there_is_loads_neither_torch_nor_monai() -> None:
    code = (
        "import sys, models.registry as r; [r.require_here(policy='locator', segmenter=s, "
        "resources=r.Resources())"
        " for s in ('litemedsam', 'fake')];"
        "sys.exit([m for m in ('torch', 'monai', 'onnxruntime', 'timm', 'transformers', 'httpx') "
        "if m in sys.modules] or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
