"""Cases from any folder or file: the layouts of training data, and DICOM with what readers drew."""

from __future__ import annotations

from pathlib import Path

from models.training.datasets.dataset import Dataset
from models.training.datasets.opening import open_dataset
from server.rules.catalogue import load_catalogue
from server.training.catalogue_targets import with_structures
from server.training.dicom_cases import dicom_layout


def open_cases(
    path: Path,
    split: str | None = None,
    *,
    layout: str | None = None,
    seed: int | None = None,
    compare: bool = True,
) -> Dataset:
    """The data set at `path` as models.training.datasets.opening opens it, DICOM folders too, each
    target with the catalogue's key where its words name one structure. UnusableData,
    LeakedPatients.
    """
    catalogue = load_catalogue()
    more = (dicom_layout(catalogue),)
    dataset = open_dataset(path, split=split, layout=layout, seed=seed, compare=compare, more=more)
    return with_structures(dataset, catalogue)
