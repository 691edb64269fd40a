"""Pictures as a model sees them: the vision tower runs once for each, however often it is shown.

The clean slice at the start of fifty episodes is one picture; so is each overlay in all later
turns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, ProcessorMixin
from transformers.utils import ModelOutput

from agent.language.chat import Picture

_LAYOUTS = 4096  # a few hundred bytes each
_WAITING = 64  # some megabytes each
_AT_ONCE = 8  # pictures in one run of the vision tower


@dataclass(frozen=True, eq=False)
class Layout:
    """How a picture is written into the prompt: its text, its image tokens, its `grid` (1, 3) of
    frames, rows and columns of patches where the model's positions need it.
    """

    text: str
    tokens: int
    grid: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class Seen:
    """What the vision tower made of one picture: `pooled` (tokens, features), and `deep` the same
    by layer.
    """

    pooled: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of device memory."""
        return self.pooled.nbytes + sum(layer.nbytes for layer in self.deep)


class Pictures:
    """One model's pictures by their digests: layouts, and features within `limit_bytes`."""

    def __init__(
        self, model: PreTrainedModel, processor: ProcessorMixin, *, limit_bytes: int
    ) -> None:
        self._model, self._processor, self._limit = model, processor, limit_bytes
        self._mark = picture_mark(model, processor)
        self._layouts: OrderedDict[str, Layout] = OrderedDict()
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._waiting: OrderedDict[str, Mapping[str, Any]] = (
            OrderedDict()
        )  # prepared, not yet looked at
        self._form: type[ModelOutput] = ModelOutput
        self._stacked = False

    def layouts(self, pictures: Iterable[Picture]) -> list[Layout]:
        """How each picture is written into the prompt."""
        layouts = []
        for picture in pictures:
            if picture.digest not in self._layouts:
                self._layouts[picture.digest] = self._lay_out(picture)
            self._layouts.move_to_end(picture.digest)
            layouts.append(self._layouts[picture.digest])
        while len(self._layouts) > _LAYOUTS:
            self._layouts.popitem(last=False)
        return layouts

    def features(self, pictures: Sequence[Picture]) -> ModelOutput | None:
        """The vision tower's output for pictures in order, as the model takes it instead of
        pixels.
        """
        if not pictures:
            return None
        features = self._all_seen(pictures)
        form: dict[str, Any] = {
            "pooler_output": self._joined([picture.pooled for picture in features])
        }
        if features[0].deep:
            form["deepstack_features"] = [
                list(layer) for layer in zip(*(picture.deep for picture in features), strict=True)
            ]
        return self._form(**form)

    def clear(self) -> None:
        """Let all features go."""
        self._seen.clear()

    def _all_seen(self, pictures: Sequence[Picture]) -> list[Seen]:
        now = {
            picture.digest: self._seen[picture.digest]
            for picture in pictures
            if picture.digest in self._seen
        }
        missing = {picture.digest: picture for picture in pictures if picture.digest not in now}
        fresh = list(missing.values())
        for start in range(0, len(fresh), _AT_ONCE):
            some = fresh[start : start + _AT_ONCE]
            now |= zip((picture.digest for picture in some), self._look(some), strict=True)
        for digest, features in now.items():
            self._seen[digest] = features
            self._seen.move_to_end(digest)
        total_bytes = sum(features.nbytes for features in self._seen.values())
        while self._seen and total_bytes > self._limit:
            total_bytes -= self._seen.popitem(last=False)[1].nbytes
        return [now[picture.digest] for picture in pictures]

    def _look(self, pictures: Sequence[Picture]) -> list[Seen]:
        prepared = [self._prepared(picture) for picture in pictures]
        tensors = {
            name: tensor.to(self._model.device)
            for name, tensor in side_by_side(self._processor, prepared).items()
        }
        output = self._model.get_image_features(**tensors, return_dict=True)
        pooled = output.pooler_output
        if len(pooled) != len(pictures):
            raise ValueError(f"{len(pooled)} sets of features came of {len(pictures)} pictures")
        self._form, self._stacked = type(output), isinstance(pooled, torch.Tensor)
        layers = getattr(output, "deepstack_features", None) or []
        return [
            Seen(features.clone(), tuple(layer[index].clone() for layer in layers))
            for index, features in enumerate(pooled)
        ]

    def _lay_out(self, picture: Picture) -> Layout:
        inputs = self._processed(picture)
        self._waiting[picture.digest] = inputs
        if len(self._waiting) > _WAITING:
            self._waiting.popitem(last=False)
        text = self._processor.replace_image_token(inputs, image_idx=0)
        return Layout(text, text.count(self._mark), inputs.get("image_grid_thw"))

    def _prepared(self, picture: Picture) -> Mapping[str, Any]:
        if picture.digest in self._waiting:
            return self._waiting.pop(picture.digest)
        return self._processed(picture)

    def _processed(self, picture: Picture) -> Mapping[str, Any]:
        return processed(self._processor, picture)

    def _joined(self, features: list[torch.Tensor]) -> Any:
        return torch.stack(features) if self._stacked else features


def picture_mark(model: PreTrainedModel, processor: ProcessorMixin) -> str:
    """The token in whose places the model puts what it sees of a picture; what a template writes
    for a whole picture (`image_token` of a processor) may be another.
    """
    return str(processor.tokenizer.convert_ids_to_tokens(model.config.image_token_id))


def processed(processor: ProcessorMixin, picture: Picture) -> Mapping[str, Any]:
    """What the model's own image processor makes of one picture: tensors by their names."""
    inputs: Mapping[str, Any] = processor.image_processor([picture.pixels], return_tensors="pt")
    return inputs


def side_by_side(
    processor: ProcessorMixin, prepared: Sequence[Mapping[str, Any]]
) -> dict[str, torch.Tensor]:
    """Processed pictures in order, as one call of the vision tower takes them."""
    return {
        name: torch.cat([inputs[name] for inputs in prepared])
        for name, value in prepared[0].items()
        if isinstance(value, torch.Tensor) and name not in processor.unused_input_names
    }
