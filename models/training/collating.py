"""Rows of the token table as one batch of a model: tokens side by side, pictures from their files.

one row     read read PICTURE read | reply | filler filler
its labels  -100 -100 -100    -100 | reply | -100   -100
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, ProcessorMixin

from models.errors import TrainingStopped
from models.policies.chat.in_process.pictures import picture_mark, processed, side_by_side
from models.training.token_table import NOT_LEARNT
from models.training.trajectory_files import read_picture

KINDS = ("mm_token_type_ids", "token_type_ids")
"""How model families call the mark of tokens that stand for pictures."""


class Collator:
    """Makes batches for `model`: `input_ids`, `attention_mask` and `labels` (rows, tokens) int64,
    the pictures' tensors, and `trajectory_ids`.

    TrainingStopped for a picture that is not here, or has another number of tokens than the row.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, filler: int) -> None:
        self._processor, self._filler = processor, filler
        self._image_token = int(model.config.image_token_id)
        self._mark = picture_mark(model, processor)
        takes = inspect.signature(model.forward).parameters
        self._kinds = [name for name in KINDS if name in takes]

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch of some rows of the token table."""
        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        ids = torch.full(shape, self._filler)
        labels, mask = torch.full(shape, NOT_LEARNT), torch.zeros(shape, dtype=torch.int64)
        prepared: list[Mapping[str, Any]] = []
        for at, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[at, :length] = torch.as_tensor(row["input_ids"])
            labels[at, :length] = torch.as_tensor(row["labels"])
            mask[at, :length] = 1
            prepared += self._pictures(row, int((ids[at] == self._image_token).sum()))
        kinds = (ids == self._image_token).long()
        batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        batch |= dict.fromkeys(self._kinds, kinds)
        batch |= side_by_side(self._processor, prepared) if prepared else {}
        return batch | {"trajectory_ids": [row["trajectory_id"] for row in rows]}

    def _pictures(self, row: Mapping[str, Any], expected: int) -> list[Mapping[str, Any]]:
        # trainers drop the pictures of a whole batch in silence where these numbers part
        try:
            prepared = [
                processed(self._processor, read_picture(Path(file))) for file in row["images"]
            ]
        except ValueError as error:
            raise TrainingStopped(f"{row['trajectory_id']}: {error}.") from error
        texts = [self._processor.replace_image_token(inputs, image_idx=0) for inputs in prepared]
        tokens = sum(text.count(self._mark) for text in texts)
        if tokens != expected:
            raise TrainingStopped(
                f"{row['trajectory_id']}: {expected} tokens stand for its pictures, and the "
                f"pictures have {tokens}. Its pictures or the image processor were changed."
            )
        return prepared
