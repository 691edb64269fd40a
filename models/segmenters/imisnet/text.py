"""Words to tokens: CLIP's own tokenizer, whose two files are not in IMIS-Net's checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from transformers import CLIPTokenizer

_log = logging.getLogger(__name__)

FILES = ("vocab.json", "merges.txt")
"""What a folder must hold; they are those of openai/clip-vit-base-patch32 on the Hugging Face
hub.
"""

FOLDER = "clip-vit-base-patch32"
"""The folder that is looked for beside the checkpoint and among the weights."""

TEMPLATE = "A segmentation area of a {}."


def sentence(structure: str) -> str:
    """A structure's name as the network was trained to read it: `Left_Kidney` is read as
    `A segmentation area of a left kidney.`
    """
    words = structure.lower().replace("_", " ").replace("-", " ").split()
    return TEMPLATE.format(" ".join(words))


class Tokenizer(Protocol):
    """What turns a structure's name into the network's tokens."""

    def tokens(self, structure: str) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, both (1, length) int64, of a structure's name."""


class TextReader:
    """Sentences as CLIP's token ids, from the tokenizer's files in `folder`; `positions` is the
    most that is read.
    """

    def __init__(self, folder: Path, positions: int) -> None:
        vocabulary, merges = (str(folder / name) for name in FILES)
        self._tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges)
        self._positions = positions

    def tokens(self, structure: str) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, both (1, length) int64, of a structure's name.

        A text that is longer than the network reads keeps its beginning and its end token.
        """
        read = self._tokenizer([sentence(structure)], truncation=True, max_length=self._positions)
        return torch.tensor(read["input_ids"]), torch.tensor(read["attention_mask"])


def text_reader(places: Iterable[Path], positions: int) -> TextReader | None:
    """The reader from the first of `places` (folders) that holds the tokenizer's files; None, and a
    line in the log, if none.
    """
    places = tuple(dict.fromkeys(places))
    for folder in places:
        if all((folder / name).is_file() for name in FILES):
            return TextReader(folder, positions)
    _log.warning(
        "IMIS-Net takes no text here: put %s of openai/clip-vit-base-patch32 into %s",
        " and ".join(FILES),
        places[0] if places else FOLDER,
    )
    return None
