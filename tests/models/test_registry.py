"""Names to models: every name builds, an unknown one is told the names there are, and nothing loads early."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agent.fakes import FakeSegmenter, ThresholdPolicy
from models.errors import UnknownModel
from models.registry import (
    POLICIES,
    SEGMENTERS,
    Resources,
    policy_entry,
    segmenter_entry,
    weights_of,
)
from models.weights import LITEMEDSAM, LOCATOR


def test_what_configuration_may_name():
    assert set(SEGMENTERS) == {"litemedsam", "fake"}
    assert set(POLICIES) == {"locator", "threshold"}


def test_the_fakes_are_built():
    assert isinstance(segmenter_entry("fake").build(Resources()), FakeSegmenter)
    assert isinstance(policy_entry("threshold").build(Resources()), ThresholdPolicy)


def test_litemedsam_is_built_with_its_resources(tmp_path, litemedsam):
    built = segmenter_entry("litemedsam").build(Resources(cache_dir=litemedsam.cache_dir))

    assert built.name == "litemedsam"
    assert segmenter_entry("litemedsam").keeps


@pytest.mark.parametrize(
    ("look_up", "kind", "known"),
    [(segmenter_entry, "segmenter", "litemedsam"), (policy_entry, "policy", "locator")],
)
def test_an_unknown_name_is_told_the_known_ones(look_up, kind, known):
    with pytest.raises(UnknownModel, match=f"no {kind} called 'gpt-9'.*{known}"):
        look_up("gpt-9")


def test_the_weights_in_use_are_the_policys_then_the_segmenters():
    assert weights_of(policy="locator", segmenter="litemedsam") == (LOCATOR, LITEMEDSAM)
    assert weights_of(policy="threshold", segmenter="fake") == ()


def test_asking_what_there_is_loads_neither_torch_nor_monai():
    code = (
        "import sys, models.registry as r; r.weights_of(policy='locator', segmenter='litemedsam');"
        "sys.exit([m for m in ('torch', 'monai', 'onnxruntime', 'timm') if m in sys.modules] or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
