"""The conversation with a language model: a pure function of the turns so far.

The conversation before turn n + 1 is the one before turn n, the reply unchanged, and one new user
message: a picture of the state at that turn, then text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.actions import Malformed
from agent.language.chat import Conversation, Message, Picture, SeesPictures
from agent.language.contact_sheet import contact_sheet, ends_and_between, evenly_chosen, grown
from agent.language.overlay import TINTS, Overlay, contoured, overlaid, resampled_in
from agent.language.replies import as_message
from agent.language.settings import LanguageSettings
from agent.language.templates import PromptTemplates, load_prompts
from agent.language.views import around_body, around_object, view_of
from agent.ports import Observation, Slices
from agent.protocol.coordinates import CoordinateRange, Coordinates
from agent.protocol.dialects import Dialect
from agent.protocol.view import View
from agent.protocol.vocabulary import (
    ADD_BOX,
    ADD_POINT,
    ASSESSMENT_TOOLS,
    FORMS,
    LOCALISATION_TOOLS,
    TOOLS,
    Tool,
    slice_tools,
)
from agent.turns import Outcome
from agent.values import PromptKind, Role, Target

WITHOUT_EFFECT = frozenset({Outcome.REFUSED, Outcome.DUPLICATE, Outcome.NO_MASK})
"""Outcomes after which the next message is about a fault and not about a new mask."""

_BODY_SLICES = 20  # are looked at for where the body is
_NO_SIDES = {"left": "", "top": ""}
_MODALITIES = {"OT": "", "XC": "a picture in colour"}  # other codes are words of their own
_OPENINGS = {Role.CARRY: "carry", Role.REVIEW: "review"}


@dataclass(frozen=True)
class PromptBuilder:
    """Builds conversations from the prompt `templates`, as the site's `settings` say."""

    settings: LanguageSettings
    templates: PromptTemplates
    chat: SeesPictures | None = None

    @classmethod
    def of(cls, settings: LanguageSettings, chat: SeesPictures | None = None) -> PromptBuilder:
        """With the prompts that the settings name, for a `chat` of which something is known;
        BadPrompts as `load_prompts`.
        """
        return cls(settings, load_prompts(settings.dialect, settings.prompts), chat)

    def coordinates(self, view: View) -> CoordinateRange:
        """The numbers in which the model writes places on a picture of `view`."""
        kind = self.settings.coordinates
        if kind is Coordinates.AUTO and self.chat is not None:
            kind = self.chat.coordinates
        if kind is Coordinates.AUTO:
            kind = Coordinates.THOUSANDTHS
        seen_px = view.size if self.chat is None else self.chat.seen_px(view.size)
        return CoordinateRange.on_picture(kind, seen_px)

    def about_slice(self, observation: Observation) -> Conversation:
        """The conversation before the next turn of an episode."""
        turns = range(len(observation.turns) + 1)
        view = view_of(observation, self.settings)
        coordinates = self.coordinates(view)
        tools = supported_tools(observation.supported_prompts, slice_tools(coordinates))
        slice_rgb = resampled_in(view, observation.slices.picture(observation.slice_index))
        told = {
            "coordinates": _convention(self.templates, coordinates),
            "overlay": self.templates.fill(f"shown_as_{self.settings.overlay}"),
            "refine": _refining(self.templates, observation.supported_prompts),
            "again": _again(self.templates, self.settings),
        }
        messages = [self._system("system", tools, **told)]
        numbers: dict[Picture, int] = {}
        for turn in turns if self.settings.history else turns[-1:]:
            if turn and self.settings.history:
                messages.append(self._reply(observation.turns[turn - 1].reply))
            picture = self._picture(observation, turn, slice_rgb, view)
            text = self._sequel(observation, turn) if turn else self._opening(observation)
            if picture in numbers and not self.settings.repeat_pictures:
                unchanged = self.templates.fill("unchanged", image=numbers[picture])
                messages.append(Message("user", (f"{unchanged}\n{text}",)))
                continue
            numbers.setdefault(picture, len(numbers) + 1)
            messages.append(Message("user", (picture, text)))
        return self._conversation(messages, tools)

    def _picture(
        self, observation: Observation, turn: int, slice_rgb: NDArray[np.uint8], view: View
    ) -> Picture:
        """The slice before turn number `turn`."""
        mask, neighbour = shown_before(observation, turn), observation.carried
        if self.settings.overlay is Overlay.CONTOUR:
            undone = undone_before(observation, turn)
            return contoured(slice_rgb, view, mask=mask, undone=undone, neighbour=neighbour)
        tint = TINTS[self.settings.dialect]
        return overlaid(slice_rgb, view, tint, mask=mask, neighbour=neighbour)

    def about_volume(self, target: Target, slices: Slices) -> Conversation:
        """The question where in the volume the target is."""
        numbers = evenly_chosen(0, slices.shape[0] - 1, self.settings.most_tiles)
        return self._sheets("survey", target, slices, numbers, LOCALISATION_TOOLS)

    def about_object(
        self, target: Target, slices: Slices, voxels: NDArray[np.bool_]
    ) -> Conversation:
        """The question on which slices an object's outline is wrong. `voxels` (z, y, x) bool are
        shown with a slice beyond each end; ValueError when they are empty.
        """
        numbers = slices_of_object(voxels, self.settings.most_tiles)
        return self._sheets("inspect", target, slices, numbers, ASSESSMENT_TOOLS, voxels)

    def with_fault(self, conversation: Conversation, reply: str, fault: str) -> Conversation:
        """A question about the volume with the `reply` to it and what is wrong with that reply."""
        correction = Message("user", (self.templates.fill("volume_fault", observation=fault),))
        return Conversation(
            (*conversation.messages, self._reply(reply), correction), tools=conversation.tools
        )

    def _conversation(self, messages: Sequence[Message], tools: tuple[Tool, ...]) -> Conversation:
        return Conversation(tuple(messages), tools if self.settings.offers_tools else ())

    def _system(self, name: str, tools: Collection[Tool], **more: str) -> Message:
        tool_text = ""
        if not self.settings.offers_tools:
            tool_text = self.templates.fill("tools", tools=_listed(tools, self.settings.dialect))
        return Message("system", (self.templates.fill(name, tools=tool_text, **more),))

    def _reply(self, text: str) -> Message:
        return as_message(text, native=self.settings.offers_tools)

    def _opening(self, observation: Observation) -> str:
        doubt = {"doubt": observation.doubt} if observation.role is Role.REVIEW else {}
        return self.templates.fill(
            _OPENINGS.get(observation.role, "first"),
            **doubt,
            **self._common(observation, 0),
            segmenter=_segmenter(self.templates, observation.supported_prompts),
            volume=self._place(observation),
            image=_image(self.templates, observation.slices),
        )

    def _sequel(self, observation: Observation, turn: int) -> str:
        last = observation.turns[turn - 1]
        common = self._common(observation, turn) | {
            "observation": last.observation.removesuffix(".")
        }
        if last.outcome in WITHOUT_EFFECT:
            unread = isinstance(last.action, Malformed)
            return self.templates.fill("form" if unread else "fault", **common)
        is_shown = self.settings.overlay is Overlay.CONTOUR
        is_undone = is_shown and undone_before(observation, turn) is not None
        undone = self.templates.fill("undone") if is_undone else ""
        return self.templates.fill("next", **common, undone=undone)

    def _common(self, observation: Observation, turn: int) -> dict[str, object]:
        has_mask = shown_before(observation, turn) is not None
        shown = "mask_contour" if self.settings.overlay is Overlay.CONTOUR else "mask"
        # neighbours that lie far apart have nothing between them, and then no outline is drawn
        shows_neighbour = observation.carried is not None and observation.carried.any()
        return {
            "target": observation.target.text,
            "mask": self.templates.fill(shown if has_mask else "no_mask"),
            "neighbour": self.templates.fill("neighbour") if shows_neighbour else "",
            "turns_left": observation.turns_left + len(observation.turns) - turn,
        }

    def _place(self, observation: Observation) -> str:
        """Where in the volume a slice lies, how it lies and how large it is, as far as known."""
        slices, facts = observation.slices, observation.slices.facts
        crop = view_of(observation, self.settings).crop
        sides = {"left": facts.left, "top": facts.top} if facts.left and facts.top else _NO_SIDES
        size_mm = {
            "width_mm": round(crop.width * slices.spacing_mm[2]) if facts.sized else "",
            "height_mm": round(crop.height * slices.spacing_mm[1]) if facts.sized else "",
        }
        depth = slices.shape[0]
        if depth == 1:
            return self.templates.fill("single", **sides, **size_mm)
        return self.templates.fill(
            "volume", slice=observation.slice_index, last_slice=depth - 1, **sides, **size_mm
        )

    def _sheets(
        self,
        name: str,
        target: Target,
        slices: Slices,
        numbers: Sequence[int],
        tools: tuple[Tool, ...],
        voxels: NDArray[np.bool_] | None = None,
    ) -> Conversation:
        sheets = _contact_sheets(self.settings, slices, numbers, voxels)
        has_gaps = voxels is None and len(numbers) < slices.shape[0]
        gaps = {"gaps": self.templates.fill("gaps") if has_gaps else ""} if voxels is None else {}
        question = self.templates.fill(
            name,
            target=target.text,
            last_slice=slices.shape[0] - 1,
            left=slices.facts.left,
            slice_mm=f"{slices.spacing_mm[0]:g}" if slices.facts.sized else "",
            bar=self.templates.fill("bar") if slices.facts.sized else "",
            image=_image(self.templates, slices),
            **gaps,
        )
        message = Message("user", (*sheets, question))
        return self._conversation([self._system("volume_system", tools), message], tools)


def _contact_sheets(
    settings: LanguageSettings,
    slices: Slices,
    numbers: Sequence[int],
    voxels: NDArray[np.bool_] | None,
) -> tuple[Picture, ...]:
    most, tile_px = settings.sheet_slices, settings.tile_px
    crop = None
    if settings.crop_sheets:
        tile_px = grown(tile_px, len(numbers), most)
        looked_at = numbers[:: max(1, len(numbers) // _BODY_SLICES)]
        crop = (
            around_body(slices.picture(z) for z in looked_at)
            if voxels is None
            else around_object(np.asarray(voxels.any(axis=0)))
        )
    return tuple(
        contact_sheet(slices, numbers[start : start + most], tile_px, voxels, crop)
        for start in range(0, len(numbers), most)
    )


def supported_tools(
    supported_prompts: Collection[PromptKind], tools: tuple[Tool, ...] = TOOLS
) -> tuple[Tool, ...]:
    """Those of `tools` that have an effect with a segmenter of `supported_prompts`."""
    useless = {
        name
        for name, kind in ((ADD_BOX, PromptKind.BOX), (ADD_POINT, PromptKind.POINT))
        if kind not in supported_prompts
    }
    return tuple(tool for tool in tools if tool.name not in useless)


def slices_of_object(voxels: NDArray[np.bool_], most: int) -> tuple[int, ...]:
    """The slices, at most `most`, on which an object (z, y, x) bool is shown to be assessed, in
    ascending order; ValueError when it is empty.
    """
    covered = np.flatnonzero(voxels.any(axis=(1, 2)))
    if not covered.size:
        raise ValueError("an empty object cannot be assessed")
    lowest, highest = max(int(covered[0]) - 1, 0), min(int(covered[-1]) + 1, len(voxels) - 1)
    return ends_and_between(lowest, highest, most)


def shown_before(observation: Observation, turn: int) -> NDArray[np.bool_] | None:
    """The mask (rows, columns) bool shown before turn number `turn`: the best one by then, else
    the episode's opening mask, if it has one.
    """
    best = observation.best_masks[turn - 1] if turn else None
    return observation.opening if best is None else best


def _convention(templates: PromptTemplates, coordinates: CoordinateRange) -> str:
    """How places are to be written, in words."""
    if coordinates.kind is not Coordinates.PIXELS:
        return templates.fill(str(coordinates.kind))
    right, bottom = int(coordinates.right), int(coordinates.bottom)
    return templates.fill(
        "pixels", width_px=right + 1, height_px=bottom + 1, right=right, bottom=bottom
    )


def _segmenter(templates: PromptTemplates, supported_prompts: Collection[PromptKind]) -> str:
    if PromptKind.POINT not in supported_prompts:
        return templates.fill("boxes_only")
    return templates.fill("points_only") if PromptKind.BOX not in supported_prompts else ""


def undone_before(observation: Observation, turn: int) -> NDArray[np.bool_] | None:
    """The mask (rows, columns) that turn number `turn` - 1 drew and that was undone, if it was."""
    last = observation.turns[turn - 1] if turn else None
    if last is None or last.outcome is not Outcome.ROLLED_BACK or last.masks is None:
        return None
    return last.masks.unpacked().get(last.slice_index) if last.masks.here else None


def _image(templates: PromptTemplates, slices: Slices) -> str:
    """What kind of image it is, as far as it is known."""
    modality = _MODALITIES.get(slices.modality, slices.modality)
    contrast = "with contrast medium" if slices.facts.contrast else ""
    kind = " ".join(filter(None, (slices.facts.plane, modality, contrast)))
    # what was measured is for the record, and percentiles say nothing of a picture
    window = slices.window.partition(", measured as")[0]
    window = "" if window.endswith("(percentiles)") else window
    return templates.fill("image", kind=kind, modality=modality, window=window)


def _refining(templates: PromptTemplates, supported_prompts: Collection[PromptKind]) -> str:
    """How a mask is begun and bettered with what the segmenter understands."""
    if PromptKind.POINT not in supported_prompts:
        return templates.fill("refine_boxes")
    return templates.fill("refine_both" if PromptKind.BOX in supported_prompts else "refine_points")


def _again(templates: PromptTemplates, settings: LanguageSettings) -> str:
    """When the model is shown the image again."""
    repeats = settings.repeat_pictures or not settings.history
    return templates.fill("again" if repeats else "again_if_changed")


def _listed(tools: Collection[Tool], dialect: Dialect) -> str:
    if dialect is Dialect.TOOL_CALL:
        return "\n".join(json.dumps(tool.schema) for tool in tools)
    names = {tool.name for tool in tools}
    return "\n".join(f"- {form.syntax}: {form.meaning}" for form in FORMS if form.name in names)
