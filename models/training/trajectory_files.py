"""A folder of trajectories, read: episodes as conversations with their pictures.

    manifest.json                        where they are from
    trajectories-00000-of-00004.jsonl    one trajectory a line
    images/<sha256>.png                  every picture once

What cannot be used is named and left out, never guessed: `Trajectories.left_out` says what and why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from agent.language.chat import Conversation, Message, Picture
from models.errors import UnusableData

VERSION = 1
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """An episode to learn from: the `messages` as they were shown, whether each is `learnt`, and
    the picture `files` in the order in which the messages show them. `patient` says whose data set
    it is, too.
    """

    trajectory_id: str
    patient: str
    split: str
    messages: tuple[tuple[str, tuple[str | None, ...]], ...]  # role; words, None for a picture
    learnt: tuple[bool, ...]
    files: tuple[Path, ...]

    def conversation(self) -> Conversation:
        """The messages with their pictures; ValueError that names a picture which is not here or
        not what its name says.
        """
        pictures = iter([read_picture(file) for file in self.files])
        return Conversation(
            tuple(
                Message(
                    cast("Literal['system', 'user', 'assistant']", role),
                    tuple(next(pictures) if part is None else part for part in parts),
                )
                for role, parts in self.messages
            )
        )


@dataclass
class Trajectories:
    """The trajectories in `folder`, in the order of its files; `left_out` has a reason by id (or
    by file and line) for each that was not given, whole once they have been gone through.
    """

    folder: Path
    left_out: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Trajectory]:
        """UnusableData for a folder without any, and for one of another version."""
        files = sorted(self.folder.glob("trajectories-*.jsonl"))
        if not files:
            raise UnusableData(
                self.folder, "no trajectories-*.jsonl lies there; make some: segnode trajectories"
            )
        for file in files:
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    yield from self._read(f"{file.name}:{number}", line)

    def manifest_sha256(self) -> str:
        """Of manifest.json, hexadecimal; "" where there is none."""
        file = self.folder / "manifest.json"
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""

    def _read(self, place: str, line: str) -> Iterator[Trajectory]:
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line holds one JSON object")
        except ValueError as error:
            self.left_out[place] = f"it is no whole line of JSON ({error})"
            return
        if row.get("version") != VERSION:
            raise UnusableData(
                self.folder,
                f"{place} is of version {row.get('version')!r}, this Segnode reads {VERSION}",
            )
        try:
            yield _trajectory(row, self.folder)
        except (KeyError, TypeError, ValueError) as error:
            name = str(row.get("trajectory_id", place))
            missing = isinstance(error, KeyError)
            self.left_out[name] = f"it has no field {error}" if missing else str(error)


def _trajectory(row: Mapping[str, Any], folder: Path) -> Trajectory:
    messages = tuple(_message(message) for message in row["messages"])
    learnt = tuple(message["train"] is True for message in row["messages"])
    roles = [role for role, _ in messages]
    if any(flag and role != "assistant" for role, flag in zip(roles, learnt, strict=True)):
        raise ValueError("a message that is not the assistant's is marked to be learnt")
    if not any(learnt):
        raise ValueError("none of its replies is to be learnt")
    shown = sum(part is None for _, parts in messages for part in parts)
    if shown != len(row["images"]):
        raise ValueError(f"its messages show {shown} pictures, and {len(row['images'])} are named")
    files = tuple(_within(folder, name) for name in row["images"])
    # names of patients are unique within a data set alone
    patient = f"{row['dataset']}: {row['patient']}"
    ids = (str(row["trajectory_id"]), patient, str(row["split"]))
    return Trajectory(*ids, messages, learnt, files)


def _message(message: Mapping[str, Any]) -> tuple[str, tuple[str | None, ...]]:
    if message["role"] not in ROLES:
        raise ValueError(f"a message is of the role {message['role']!r}, not of {', '.join(ROLES)}")
    return message["role"], tuple(_part(part) for part in message["content"])


def _part(part: Mapping[str, Any]) -> str | None:
    match part:
        case {"type": "image"}:
            return None
        case {"type": "text", "text": str(text)}:
            return text
    raise ValueError(f"a part of a message is neither text nor an image: {str(part)[:80]}")


def _within(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the picture {name} lies outside of the folder")
    return file


def read_picture(file: Path) -> Picture:
    """The picture in a file whose name is the SHA-256 of its bytes or of its pixels; ValueError for
    one that is missing, damaged, or another than its name says.
    """
    try:
        content = file.read_bytes()
        with Image.open(file) as image:
            picture = Picture(np.array(image.convert("RGB")))
    except FileNotFoundError:
        raise ValueError(f"the picture {file.name} is missing") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"the picture {file.name} cannot be read ({error})") from None
    if file.stem not in (hashlib.sha256(content).hexdigest(), picture.digest):
        raise ValueError(f"the picture {file.name} is not what its name says: it was changed")
    return picture
