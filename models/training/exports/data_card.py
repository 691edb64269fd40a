"""The data card of a folder of trajectories: README.md with a gallery, for whoever is given it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from models.errors import ExportFailed
from models.runtime.cache import write_atomically
from models.training.exports.gallery import draw_trajectory
from models.training.exports.trajectory_folder import end_folder, read_manifest, records

IN_GALLERY = 10

_CARD = """# Trajectories of a simulated reader

{kept} trajectories of {patients} patients, made by Segnode with the segmenter {segmenter}, in the
dialect {dialect}, seed {seed}. The truth is a reader's; the actions are a program's that knows it.

| | |
|---|---|
| share kept by the filter | {share_kept:.3f} |
| mean turns | {mean_turns:.2f} |
| mean IoU at the end | {mean_iou} |
| cases | {done}, of which {count_failed} failed |

{tables}

## Settings

{settings}

## Gallery

Red: the truth. Cyan: the action that followed. Magenta: one that is wrong on purpose, and is not
learnt. As the model sees them, green: the mask so far, yellow: the outline on a neighbouring slice.

{gallery}

## Use

The pictures are of patients. Whoever gives this folder away answers for the licences above, and for
the pictures holding nothing that names a patient.
"""


def write_data_card(folder: Path) -> Path:
    """Write `README.md` and `gallery/` for the trajectories in `folder`; the card's path.

    ExportFailed where there are none. The pictures are of patients: whether they may be given away
    is the owner's to decide, and the card says so.
    """
    figures, manifest = end_folder(folder), read_manifest(folder)
    if manifest is None or not figures.kept:
        raise ExportFailed(folder, "there are no trajectories: make some with segnode trajectories")
    gallery = []
    for number, record in enumerate(_chosen(records(folder)), start=1):
        path = folder / "gallery" / f"{number:02}-{record['kind']}.png"
        path.parent.mkdir(exist_ok=True)
        draw_trajectory(record, folder).save(path)
        gallery.append((path.relative_to(folder).as_posix(), record))
    card = _card(manifest, gallery)
    write_atomically(folder / "README.md", card.encode())
    return folder / "README.md"


def _chosen(trajectories: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Ten that show what there is: the kinds in turn, of each those with most turns."""
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for record in trajectories:
        longest = by_kind.setdefault(record["kind"], [])
        longest.append(record)
        longest.sort(key=lambda one: (-len(one["turns"]), one["trajectory_id"]))
        del longest[IN_GALLERY:]
    chosen: list[Mapping[str, Any]] = []
    for rank in range(IN_GALLERY):
        chosen += [longest[rank] for _, longest in sorted(by_kind.items()) if rank < len(longest)]
    return chosen[:IN_GALLERY]


def _card(manifest: Mapping[str, Any], gallery: list[tuple[str, Mapping[str, Any]]]) -> str:
    figures, settings = manifest["figures"], manifest["settings"]
    counts = ("kinds", "roles", "structures", "modalities", "splits", "dropped")
    tables = [
        _table("Sources", ("data set", "licence", "where from"), _sources(manifest)),
        *(
            _table(name.capitalize(), (name, "trajectories"), figures[name].items())
            for name in counts
        ),
    ]
    pictures = [
        f"### {one['kind']}: {one['target']['text']}\n\n![]({name})" for name, one in gallery
    ]
    return _CARD.format(
        **{**figures, **settings},
        count_failed=len(figures["failed"]),
        mean_iou=_figure(figures["mean_final_iou"]),
        tables="\n\n".join(table for table in tables if table),
        settings="\n".join(f"- {key}: {value}" for key, value in settings.items()),
        gallery="\n\n".join(pictures),
    )


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _sources(manifest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (
            source.get("dataset", ""),
            source.get("licence") or "unknown: ask its owner",
            source.get("source") or "unknown",
        )
        for source in manifest["sources"]
    ]


def _table(title: str, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A section with a table; "" without rows."""
    listed = [f"| {' | '.join(map(str, row))} |" for row in rows]
    if not listed:
        return ""
    head = f"| {' | '.join(header)} |\n|{'---|' * len(header)}"
    return "\n".join((f"## {title}\n", head, *listed))
