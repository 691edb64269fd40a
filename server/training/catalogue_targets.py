"""What a data set's own words and codes ask for, as the catalogue knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agent.case import Truth
from agent.values import Target
from dicom_node.annotations.annotated_structure import AnnotatedStructure
from dicom_node.values import Code
from models.training.datasets.dataset import Contents, Dataset, Entry, Tell
from models.training.datasets.registry import words_of
from server.rules.catalogue import Catalogue, Structure

_SIDES = {"_R": "right", "_L": "left"}  # as AAPM TG-263 names structures for radiotherapy


def with_structures(dataset: Dataset, catalogue: Catalogue) -> Dataset:
    """The data set with the catalogue's key on every target whose words name one structure."""
    entries = [replace(entry, read=_completed(entry, catalogue)) for entry in dataset.entries]
    return replace(dataset, entries=entries)


def target_of_words(words: str, catalogue: Catalogue) -> Target:
    """The target of a label's words; without a key where they stand for none or for several."""
    targets = catalogue.targets(words)
    return targets[0] if len(targets) == 1 else Target(words)


def target_of_structure(structure: AnnotatedStructure, catalogue: Catalogue) -> Target:
    """The target of what a reader drew: by its codes where the catalogue has them, else by its
    label.
    """
    for known_structure in catalogue.structures.values():
        if _has_codes(known_structure, structure.type, structure.laterality):
            return Target(known_structure.label.lower(), known_structure.key)
    label = structure.label or (structure.type.meaning if structure.type else "")
    side = _SIDES.get(label[-2:])
    return target_of_words(words_of(f"{label[:-2]}_{side}" if side else label), catalogue)


def _has_codes(structure: Structure, type_code: Code | None, laterality: Code | None) -> bool:
    return (
        type_code is not None
        and _same(structure.type, type_code)
        and (
            structure.laterality is laterality is None
            or (
                structure.laterality is not None
                and laterality is not None
                and _same(structure.laterality, laterality)
            )
        )
    )


def _same(code: Code, other: Code) -> bool:
    return (code.value, code.scheme) == (other.value, other.scheme)


def _completed(entry: Entry, catalogue: Catalogue) -> Callable[[Tell], Contents]:
    def read(tell: Tell) -> Contents:
        contents = entry.read(tell)
        truths = tuple(_complete(truth, catalogue) for truth in contents.truths)
        return replace(contents, truths=truths)

    return read


def _complete(truth: Truth, catalogue: Catalogue) -> Truth:
    if truth.target.structure is not None:
        return truth
    key = target_of_words(truth.target.text, catalogue).structure
    return replace(truth, target=replace(truth.target, structure=key))
