"""Trajectories as pictures for people: what was shown, what was done there, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from agent.actions import AddBox, AddPoint
from agent.protocol.dialects import Dialect, parse_reply
from agent.protocol.view import View
from agent.training.reader_settings import TrajectoryKind

_PANEL_PX = 320
_LINE_PX = 14
_TRUTH_RGB, _RIGHT_RGB, _WRONG_RGB, _INK_RGB = (
    (255, 64, 64),
    (0, 200, 255),  # yellow is the outline of a neighbouring slice, which the model is shown
    (255, 0, 255),
    (20,) * 3,
)
_CAPTION_LINES = 3
_VOLUME_PX = 640  # a contact sheet has numbers to be read


def draw_trajectory(record: Mapping[str, Any], folder: Path) -> Image.Image:
    """The turns of a trajectory in a row: each picture as the model saw it, the truth outlined in
    red, the action that followed in cyan, or in magenta where it was wrong on purpose.
    """
    turns, images = record["turns"], record["images"]
    is_volume = record["kind"] == TrajectoryKind.VOLUME
    side = _VOLUME_PX if is_volume else _PANEL_PX
    width, height = side * len(images), side + _LINE_PX * (_CAPTION_LINES + 1)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    asked = f", {turns[0]['role']}" if is_volume else ""
    heading = f"{record['kind']}{asked}: {record['target']['text']} ({record['modality']})"
    pen.text((4, 1), heading, fill=_INK_RGB)
    for place, name in enumerate(images):
        panel = _panel(record, folder / name, place, folder)
        panel.thumbnail((side, side))
        sheet.paste(panel, (place * side, _LINE_PX))
        for line, words in enumerate(_caption(record, min(place, len(turns) - 1))):
            pen.text((place * side + 4, side + _LINE_PX * (line + 1) + 1), words, fill=_INK_RGB)
    return sheet


def _panel(record: Mapping[str, Any], path: Path, place: int, folder: Path) -> Image.Image:
    with Image.open(path) as stored:
        panel = stored.convert("RGB")
    if record["truth"] is not None:
        with Image.open(folder / record["truth"]) as stored:
            truth = np.asarray(stored.convert("L")) > 127
        pixels = np.array(panel)
        pixels[truth & ~ndimage.binary_erosion(truth, border_value=1)] = _TRUTH_RGB
        panel = Image.fromarray(pixels)
    _draw_action(panel, record, place)
    return panel


def _draw_action(panel: Image.Image, record: Mapping[str, Any], place: int) -> None:
    """The action of a turn on its picture, at the coordinates that its reply says."""
    view = View.squash((panel.height, panel.width), panel.size)
    reply = record["turns"][place]["reply"] if place < len(record["turns"]) else ""
    colour, pen = _RIGHT_RGB if _is_learnt(record, place) else _WRONG_RGB, ImageDraw.Draw(panel)
    match parse_reply(reply, view, Dialect(record["dialect"])):
        case AddBox(box):
            pen.rectangle((box.x0, box.y0, box.x1, box.y1), outline=colour, width=2)
        case AddPoint(point):
            around = (point.x - 5, point.y - 5, point.x + 5, point.y + 5)
            pen.ellipse(around, outline=colour, width=2)
            pen.line((point.x - 3, point.y, point.x + 3, point.y), fill=colour, width=2)
            if point.positive:
                pen.line((point.x, point.y - 3, point.x, point.y + 3), fill=colour, width=2)


def _caption(record: Mapping[str, Any], place: int) -> tuple[str, ...]:
    turn, iou = record["turns"][place], record["ious"][place]
    score = "" if turn["score"] is None else f", score {turn['score']:.2f}"
    truth = "" if iou is None else f", IoU now {iou:.2f}"
    wrong = "" if _is_learnt(record, place) else " (wrong on purpose)"
    action = turn["action"]
    named = ""
    if action["kind"] == "slices":  # of an assessment that names none, nothing is wrong
        named = f" {', '.join(map(str, action['slices'])) or 'none'}"
    return (
        f"{place + 1}: {action['kind'].replace('_', ' ')}{named}{wrong}",
        f"{turn['outcome'].replace('_', ' ')}{score}{truth}",
        turn["observation"][:52],
    )


def _is_learnt(record: Mapping[str, Any], place: int) -> bool:
    replies = [message["train"] for message in record["messages"] if message["role"] == "assistant"]
    return place >= len(replies) or bool(replies[place])
