"""A data set that is open: its cases one after the other, and what of it could not be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.case import Case, Truth
from agent.values import Volume
from models.errors import UnreadableFile
from models.training.datasets.manifest import Manifest


@dataclass(frozen=True)
class Skipped:
    """Something that is not used: `file` relative to the data set, `reason` in one sentence.

    `case_id` names the case that is missing for it; None where the case is there without one of
    its truths, or where the file is no case's.
    """

    file: str
    reason: str
    case_id: str | None = None


Tell = Callable[[str, str], None]
"""Takes a truth's file and why it cannot be used."""


@dataclass(frozen=True, eq=False)
class Contents:
    """What the files of one case hold: the image, its truths on the image's grid, and whether the
    grid's millimetres mean something.
    """

    volume: Volume
    truths: tuple[Truth, ...]
    spacing_known: bool = True


@dataclass(frozen=True, eq=False)
class Entry:
    """A case before it is read: `files` relative to the data set, the image first; `read` gives
    what they hold, or raises UnreadableFile.

    `split` is the data set's own, None where it has none; `dataset` is named where a folder holds
    several.
    """

    case_id: str
    patient: str
    files: tuple[str, ...]
    read: Callable[[Tell], Contents]
    split: str | None = None
    dataset: str = ""


@dataclass(frozen=True, eq=False)
class Listing:
    """What a layout finds in a folder without reading a pixel, in a fixed order.

    `patients_known` is False where no name tells the patient, so that each image counts as one;
    `indices` are the files that say what the others mean.
    """

    dataset: str
    entries: Sequence[Entry]
    faults: tuple[Skipped, ...] = ()
    patients_known: bool = True
    indices: tuple[str, ...] = ()


@dataclass(eq=False)
class Dataset:
    """The cases of one split, or of all.

    `root` is the folder or file it lies in, `entries` the cases that it says it has, `manifest` its
    source, licence and splits. Every pass over `cases` gives the same cases in the same order, and
    each entry ends as a case or in `skipped`.
    """

    name: str
    root: Path
    layout: str
    entries: Sequence[Entry]
    manifest: Manifest
    faults: tuple[Skipped, ...] = ()
    indices: tuple[str, ...] = ()
    skipped: list[Skipped] = field(default_factory=list)

    def __len__(self) -> int:
        """How many cases it says it has; those that cannot be read are counted."""
        return len(self.entries)

    def cases(self) -> Iterator[Case]:
        """The cases, each read when it is asked for; what cannot be used is named in `skipped`,
        which is complete after the last.
        """
        self.skipped[:] = self.faults
        for entry in self.entries:
            case = self._read(entry)
            if case is not None:
                yield case

    def _read(self, entry: Entry) -> Case | None:
        truth_faults: list[Skipped] = []

        def tell(file: str, reason: str) -> None:
            truth_faults.append(Skipped(file, reason))

        try:
            self.manifest.verify(self.root, entry.files)
            contents = entry.read(tell)
            if not contents.truths:
                raise UnreadableFile(self.root / entry.files[0], "no truth of it can be used.")
        except UnreadableFile as fault:
            self.skipped += truth_faults
            name = self._relative(fault.path, entry)
            self.skipped.append(Skipped(name, fault.reason, entry.case_id))
            return None
        self.skipped += truth_faults
        try:
            return Case(
                entry.case_id,
                entry.patient,
                entry.dataset or self.name,
                entry.split or "",
                _stated(contents),
                contents.truths,
                contents.spacing_known,
            )
        except ValueError as fault:  # two labels of one structure, such as those of two readers
            self.skipped.append(Skipped(entry.files[0], f"{fault}.", entry.case_id))
            return None

    def _relative(self, path: Path, entry: Entry) -> str:
        """The file at fault as it is called in the data set."""
        by_place = (name for name in entry.files if path == self.root / name)
        by_name = (name for name in entry.files if path.name == Path(name).name)
        return next(by_place, None) or next(by_name, path.name)


def _stated(contents: Contents) -> Volume:
    """The volume; a grid that was made up for a file that stores none says nothing."""
    if contents.spacing_known:
        return contents.volume
    return replace(contents.volume, placed=False, sized=False)
