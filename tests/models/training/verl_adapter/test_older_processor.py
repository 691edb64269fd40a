"""What an older processor lacks is what the processors here do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoProcessor, ProcessorMixin

from models.training.verl_adapter.older_processor import complete, image_tokens, with_pictures
from tests.support.chat_folders import Size, save_qwen2_5_vl, save_qwen3_vl

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
FAMILIES = {"qwen3_vl": save_qwen3_vl, "qwen2_5_vl": save_qwen2_5_vl}


@pytest.fixture(params=FAMILIES)
def processor(request: pytest.FixtureRequest, tmp_path: Path) -> ProcessorMixin:
    FAMILIES[request.param](tmp_path, Size())
    return AutoProcessor.from_pretrained(tmp_path)


def test_pictures_are_written_as_processors_here_write_them(processor: ProcessorMixin) -> None:
    inputs = processor.image_processor(
        [np.zeros((64, 128, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)], return_tensors="pt"
    )
    written = [image_tokens(processor, inputs, number) for number in (0, 1)]
    assert written == [processor.replace_image_token(inputs, image_idx=n) for n in (0, 1)]
    counts = [one.count(processor.image_token) for one in written]
    assert counts[0] > counts[1] > 1
    text = f"first {processor.image_token} and then {processor.image_token}."
    (theirs,), _ = processor.get_text_with_replacements([text], written)
    assert with_pictures(processor, [text], written) == ([theirs], None)


def test_only_what_is_lacking_is_added(processor: ProcessorMixin) -> None:
    before = processor.replace_image_token
    assert complete(processor) is processor
    assert processor.replace_image_token == before
    bare = SimpleNamespace(image_token="<p>")
    whole = complete(bare)
    assert whole.get_text_with_replacements(["a<p>b"], ["<p><p>"]) == (["a<p><p>b"], None)


@pytest.mark.parametrize("pictures", [[], ["<p>", "<p>"]])
def test_a_text_with_other_places_is_refused(pictures: list[str]) -> None:
    with pytest.raises(ValueError, match="places for 1 pictures, not for"):
        with_pictures(SimpleNamespace(image_token="<p>"), ["a<p>b"], pictures)
