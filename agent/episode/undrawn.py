"""Why a target that was looked for has no mask, in words for a person.

A turn's observation is written for the planner ("try another place"): what a person reads in a
result is said anew here, from what the turn did and what came of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent.actions import AddBox, AddPoint, Malformed, NameSlices
from agent.episode.state import SEGMENTER_FAILED
from agent.turns import Outcome, Turn
from agent.values import PromptKind


def why_undrawn(turns: Sequence[Turn], supported_prompts: Collection[PromptKind]) -> str:
    """What stood in the way of a mask: the last prompt without an answer among `turns`, each of a
    slice and none with a mask, or else the last turn; `supported_prompts` those of the segmenter.
    """
    telling = [turn for turn in turns if turn.outcome is not Outcome.ABSENT]
    if not telling:
        return "the planner named no slice of this volume"
    unanswered = [turn for turn in telling if turn.outcome is Outcome.NO_MASK]
    last = (unanswered or telling)[-1]
    return f"on {last.place} {_fault(last, supported_prompts)}"


def _fault(turn: Turn, supported_prompts: Collection[PromptKind]) -> str:
    match turn.outcome, turn.action:
        case Outcome.NO_MASK, _ if turn.observation.startswith(SEGMENTER_FAILED):
            return turn.observation
        case Outcome.NO_MASK, _:
            return "the segmenter drew nothing for the planner's prompts"
        case Outcome.DUPLICATE, _:
            return "the planner repeated a prompt that had not helped"
        case _, Malformed():
            return "the planner's reply could not be read"
        case _, NameSlices():
            return "the planner named slices instead of drawing"
        case _, (AddBox() | AddPoint()) as action:
            kind = PromptKind.BOX if isinstance(action, AddBox) else PromptKind.POINT
            if kind not in supported_prompts:
                return f"the planner gave a {kind}, which the segmenter does not take"
            return "the planner's prompt lay outside the image"
        case _:
            return "the planner ended before it had drawn anything"
