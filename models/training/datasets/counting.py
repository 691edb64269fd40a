"""Going through a whole data set once: what it holds, and the manifest that says so."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from agent.case import Case
from models.errors import UnreadableFile, UnusableData
from models.training.datasets.dataset import Dataset, Skipped
from models.training.datasets.manifest import Manifest, sha256_of
from models.training.datasets.splits import TEST

OnCase = Callable[[int, int], None]
"""Takes how many cases were read, and how many there are."""


@dataclass(frozen=True)
class Inventory:
    """What a pass over all cases gives: the data set's manifest with its counts, what was skipped,
    and the structures that only the test split has, which nobody can learn.
    """

    manifest: Manifest
    skipped: tuple[Skipped, ...]
    only_in_test: tuple[str, ...]

    @property
    def cases(self) -> int:
        """How many cases can be used."""
        return sum(self.manifest.cases.values())


def take_inventory(dataset: Dataset, on_case: OnCase) -> Inventory:
    """Read every case of `dataset`, which is open as a whole, and count; UnusableData where not
    every case that it lists was read or named.
    """
    counts: defaultdict[str, defaultdict[str, Counter[str]]]
    counts = defaultdict(lambda: defaultdict(Counter))
    patients: defaultdict[str, set[str]] = defaultdict(set)
    read_cases = 0
    for case in dataset.cases():
        read_cases += 1
        _count(case, counts)
        patients[case.split].add(case.patient)
        on_case(read_cases, len(dataset))
    skipped_cases = {s.case_id for s in dataset.skipped} & {e.case_id for e in dataset.entries}
    if read_cases + len(skipped_cases) != len(dataset):
        raise UnusableData(
            dataset.root,
            f"{len(dataset)} cases are listed, {read_cases} were read and "
            f"{len(skipped_cases)} skipped; its names are not unique",
        )
    manifest = replace(
        dataset.manifest,
        cases={split: own["cases"]["cases"] for split, own in counts.items()},
        patients={split: len(own) for split, own in patients.items()},
        structures=_counted(counts, "structures"),
        absent=_counted(counts, "absent"),
        modalities=_counted(counts, "modalities"),
    )
    return Inventory(manifest, tuple(dataset.skipped), _only_in_test(manifest.structures))


def with_hashes(dataset: Dataset, manifest: Manifest) -> Manifest:
    """The manifest with the SHA-256 of every file of the data set, those that are skipped too."""
    names = {name for entry in dataset.entries for name in entry.files} | set(dataset.indices)
    hashes = {}
    for name in sorted(names):
        try:
            hashes[name] = sha256_of(dataset.root / name)
        except UnreadableFile:
            continue  # it is named among the skipped
    return replace(manifest, files=hashes)


def _count(case: Case, counts: Mapping[str, Mapping[str, Counter[str]]]) -> None:
    own = counts[case.split]
    own["cases"]["cases"] += 1
    own["modalities"][case.volume.modality] += 1
    for truth in case.truths:
        name = truth.target.structure or truth.target.text
        own["absent" if truth.absent else "structures"][name] += 1


def _counted(
    counts: Mapping[str, Mapping[str, Counter[str]]], kind: str
) -> dict[str, dict[str, int]]:
    return {split: dict(sorted(own[kind].items())) for split, own in counts.items()}


def _only_in_test(structures: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    others = {name for split, own in structures.items() if split != TEST for name in own}
    return tuple(sorted(structures.get(TEST, {}).keys() - others))
