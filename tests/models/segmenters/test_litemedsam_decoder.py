"""The rearranged decoder gives the masks of the package's own; torch draws where ONNX Runtime
cannot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest
import torch

from agent.values import Box, Prompts
from models.segmenters.litemedsam import LiteMedSam, load_network
from models.segmenters.litemedsam_decoder import EagerDecoder, FoldedDecoder, fastest_decoder
from models.weights.manifest import LITEMEDSAM
from tests.models.conftest import SampleCt


@pytest.fixture(scope="module")
def network() -> Any:
    """The network with the real weights."""
    return load_network(LITEMEDSAM.verified_path())


@pytest.fixture(scope="module")
def embedding() -> np.ndarray:
    """An embedding in the range of real ones."""
    return np.random.default_rng(4).normal(0, 0.2, (256, 64, 64)).astype(np.float32)


@pytest.mark.parametrize(
    "corners", [(30, 40, 120, 130), (0, 0, 255, 255), (100.5, 90.25, 101.5, 91)], ids=str
)
def test_rearranged_it_computes_the_same(
    network: Any, embedding: np.ndarray, corners: tuple[float, float, float, int]
) -> None:
    # Arrange
    box = np.array(corners, dtype=np.float32)

    # Act
    with torch.inference_mode():
        logits, iou = FoldedDecoder(network)(torch.from_numpy(embedding), torch.from_numpy(box))

    # Assert
    expected_logits, expected_iou = EagerDecoder(network)(embedding, box)
    assert np.abs(expected_logits).max() > 1
    np.testing.assert_allclose(logits.numpy(), expected_logits, atol=5e-4)
    assert float(iou) == pytest.approx(expected_iou, abs=1e-5)


def test_on_real_ct_the_masks_are_those_of_torch(
    litemedsam: LiteMedSam, sample_ct: SampleCt
) -> None:
    """Through ONNX Runtime, from the same embedding; a pixel may differ only where the logit is 0
    to the third decimal.
    """
    # Arrange
    plain = LiteMedSam(eager=True)
    z = int(sample_ct.labels["liver"].sum(axis=(1, 2)).argmax())
    encoding = litemedsam.encode(np.clip((sample_ct.volume.intensities[z] + 160) / 400, 0, 1))

    for name in ("liver", "spleen", "stomach", "aorta"):
        prompts = Prompts(Box.around(sample_ct.labels[name][z]).grown(3, encoding.source_shape))

        # Act
        fast, slow = litemedsam.segment(encoding, prompts), plain.segment(encoding, prompts)

        # Assert
        assert (litemedsam.decoder_runtime, plain.decoder_runtime) == ("onnxruntime", "torch")
        assert fast.mask.any()
        np.testing.assert_allclose(fast.logits, slow.logits, atol=1e-3)
        assert np.count_nonzero(fast.mask != slow.mask) <= 2
        assert fast.predicted_iou == pytest.approx(slow.predicted_iou, abs=1e-5)


def test_where_onnx_runtime_cannot_torch_draws_and_says_so(
    network: Any,
    embedding: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Arrange
    def no_export(*_: Any, **__: Any) -> Never:
        raise RuntimeError("this build cannot export")

    monkeypatch.setattr(torch.onnx, "export", no_export)

    # Act
    decoder = fastest_decoder(network, key="none", cache_dir=tmp_path, threads=1)

    # Assert
    assert decoder.runtime == "torch"
    assert "cannot run the mask decoder (this build cannot export): torch runs it" in caplog.text
    assert decoder(embedding, np.array([30, 40, 120, 130], dtype=np.float32))[0].any()
