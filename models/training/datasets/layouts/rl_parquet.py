"""MedSAM-Agent's reinforcement learning data: parquet, a row with picture, mask and target each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent.values import Target
from models.errors import UnreadableFile, UnusableData
from models.images.label_maps import read_foreground
from models.images.readers import read_picture
from models.training.datasets.dataset import Contents, Entry, Listing, Skipped, Tell
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import files_below, inside, stem_of
from models.training.datasets.registry import find_dataset
from models.training.datasets.splits import split_name
from models.training.datasets.truths import truth_of_mask

_ENDINGS = (".parquet",)
_PIXELS = ("images", "reward_model")
_WORDS = ("data_source", "extra_info")
_AT_ONCE = 16  # rows whose pictures are in memory


class _Rows:
    """The rows of one file with their pictures, read forwards; a row before the last one begins
    anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0
        self._rows: Iterator[dict[str, Any]] = iter(())

    def row(self, number: int) -> dict[str, Any]:
        """Row `number`, zero-based; UnreadableFile where the file is damaged there."""
        try:
            if self._next == 0 or number < self._next:
                self._rows, self._next = _rows(self._path), 0
            while self._next < number:
                next(self._rows)
                self._next += 1
            self._next += 1
            return next(self._rows)
        except StopIteration:
            self._next = 0
            raise UnreadableFile(self._path, f"it has no row {number}.") from None
        except (OSError, ValueError, KeyError, NotImplementedError) as fault:
            self._next = 0
            raise UnreadableFile(self._path, f"it is damaged at row {number} ({fault}).") from fault


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_AT_ONCE, columns=list(_PIXELS)):
            yield from batch.to_pylist()


def _fits(path: Path) -> bool:
    if path.is_file():
        return path.name.endswith(_ENDINGS)
    return any(files_below(path, _ENDINGS))


def _listing(path: Path) -> Listing:
    _require_pyarrow(path)
    folder = path if path.is_dir() else path.parent
    names = list(files_below(folder, _ENDINGS)) if path.is_dir() else [path.name]
    entries: list[Entry] = []
    faults: list[Skipped] = []
    for name in names:
        try:
            entries += _entries(folder, name)
        except UnreadableFile as fault:
            faults.append(Skipped(name, fault.reason))
    return Listing(stem_of(path.name), entries, tuple(faults), patients_known=False)


def _entries(folder: Path, name: str) -> list[Entry]:
    """A case for every row of a file, whose pictures are not read yet."""
    from pyarrow import parquet

    path = inside(folder, name)
    try:
        table = parquet.read_table(path, columns=list(_WORDS))
        words = table.to_pylist()
    except (OSError, ValueError, KeyError, NotImplementedError) as fault:
        raise UnreadableFile(path, f"it is damaged or no parquet ({fault}).") from fault
    rows, split = _Rows(path), _split_of(name)
    entries = []
    for number, row in enumerate(words):
        extra = row.get("extra_info") or {}
        text = str(extra.get("target_description") or "").strip()
        image = str(extra.get("id") or number)
        read = partial(_read, rows, number, name, text, str(row.get("data_source") or ""))
        entries.append(Entry(f"{stem_of(name)}/{number}", image, (name,), read, split))
    return entries


def _split_of(name: str) -> str | None:
    """The split that a file's name begins with; None where it begins otherwise."""
    try:
        return split_name(stem_of(name).replace("-", "_").split("_")[0])
    except ValueError:
        return None


def _read(rows: _Rows, number: int, name: str, text: str, source: str, tell: Tell) -> Contents:
    row = {**rows.row(number), "data_source": source, "extra_info": {"target_description": text}}
    return contents_of_row(row, name, f"row {number}", tell)


def contents_of_row(row: Mapping[str, Any], name: str, place: str, tell: Tell) -> Contents:
    """What a row of these columns shows: its picture, with its mask as a truth. `place` ("row 7")
    of the file `name` stands in errors; UnreadableFile for a row that cannot be used.
    """
    path, text = Path(name), str((row.get("extra_info") or {}).get("target_description") or "")
    if not text.strip():
        raise UnreadableFile(path, f"{place} has no target_description.")
    images, truth = row.get("images") or [], (row.get("reward_model") or {}).get("ground_truth")
    mask_bytes = truth.get("bytes") if isinstance(truth, dict) else truth
    image_bytes = images[0].get("bytes") if images else None
    if not isinstance(image_bytes, bytes) or not isinstance(mask_bytes, bytes):
        raise UnreadableFile(path, f"{place} has no picture, or no mask.")
    volume, mask = read_picture(path, image_bytes), read_foreground(path, mask_bytes)
    registered = find_dataset(str(row.get("data_source") or ""), "")
    if len(registered.modalities) == 1:
        volume = replace(volume, modality=registered.modalities[0])
    if mask.shape != volume.geometry.shape:
        raise UnreadableFile(
            path,
            f"the mask of {place} has {mask.shape[1:]} pixels and its picture "
            f"{volume.geometry.shape[1:]}.",
        )
    target = Target(text.strip(), registered.structures.get(text.strip()))
    return Contents(volume, truth_of_mask(mask, target, name, tell), spacing_known=False)


def _require_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401  # whether it is there
    except ImportError as fault:
        raise UnusableData(path, "parquet needs pyarrow: install segnode[train]") from fault


LAYOUT = DataLayout(
    "rl-parquet",
    "parquet with images, reward_model and extra_info, as MedSAM-Agent's training has",
    _fits,
    _listing,
)
