"""The methods of a run: the policy first, then the baselines that mean something beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.limits import Limits
from agent.values import PromptKind
from models.errors import EvaluationFailed
from models.evaluation.methods.answers import Method
from models.evaluation.methods.box_only import BOXES, box_only
from models.evaluation.methods.interactive import Interactive
from models.evaluation.methods.oracle_box import OracleBox
from models.evaluation.methods.oracle_clicks import OracleClicks
from models.evaluation.methods.policy_method import LAST_MASK, PolicyMethod, single_turn
from models.loaded_models import LoadedModels

LOCATOR = "locator"
ALL_OR_NONE = ("all", "none")
BASELINES: Mapping[str, str] = {
    LAST_MASK: "the policy's own turns, the last mask kept instead of the best",
    "single-turn": "the policy with one turn on each slice",
    "box-only": "the policy without clicks",
    "oracle-box": "a box round the truth, in one turn",
    "oracle-clicks": "up to 20 ideal clicks on the largest slice (NoC)",
    "interactive": "a box and five ideal clicks (CVPR 2025 challenge)",
    LOCATOR: "the embedded planner",
}


@dataclass(frozen=True, eq=False)
class Methods:
    """The methods to run, and why baselines that were asked for are `left_out`."""

    run: Sequence[Method]
    left_out: Mapping[str, str]


def named_baselines(words: str) -> tuple[str, ...]:
    """The baselines of "all", "none" or names with commas between, in the order of BASELINES;
    EvaluationFailed for a name that is none.
    """
    if words in ALL_OR_NONE:
        return tuple(BASELINES) if words == "all" else ()
    names = {word.strip() for word in words.split(",")}
    unknown = sorted(names - BASELINES.keys())
    if unknown:
        raise EvaluationFailed(
            f"there is no baseline '{unknown[0]}'. Choose of: {', '.join(BASELINES)}, or say "
            "all or none"
        )
    return tuple(name for name in BASELINES if name in names)


def methods_of(
    policy: str,
    models: LoadedModels,
    limits: Limits,
    baselines: Collection[str],
    locator: LoadedModels | None = None,
) -> Methods:
    """The policy of `models`, by its name `policy`, and `baselines` (names of BASELINES). `locator`
    are the embedded planner's models with the same segmenter, None where it is not wanted.
    """
    left_out = {name: why for name in baselines if (why := _why_not(name, policy, models, locator))}
    wanted = [name for name in baselines if name not in left_out]
    run: list[Method] = [
        PolicyMethod(policy, models, limits, with_last_mask=LAST_MASK in wanted),
        *(_baseline(n, models, limits, locator) for n in wanted if n != LAST_MASK),
    ]
    return Methods(run, left_out)


def require_possible(
    wanted: Collection[str], policy: str, models: LoadedModels, left_out: Mapping[str, str]
) -> None:
    """EvaluationFailed where one of the baselines that were `wanted` by name is `left_out`, with
    those that are possible: who names one waits for its figures.
    """
    missing = [name for name in wanted if name in left_out]
    if not missing:
        return
    possible = [name for name in BASELINES if _why_not(name, policy, models, models) is None]
    reasons = "; ".join(f"{name}: {left_out[name]}" for name in missing)
    raise EvaluationFailed(
        f"these baselines cannot be run with {policy} and {models.segmenter.name}: {reasons}. "
        f"Possible are: {', '.join(possible)}"
    )


def _baseline(
    name: str, models: LoadedModels, limits: Limits, locator: LoadedModels | None
) -> Method:
    match name:
        case "single-turn":
            return PolicyMethod(name, models, single_turn(limits))
        case "box-only":
            boxed = replace(models, segmenter=box_only(models.segmenter))
            return PolicyMethod(name, boxed, limits)
        case "oracle-box":
            return PolicyMethod(
                name,
                models,
                single_turn(limits),
                policy_for=lambda case: OracleBox(case.working_truths),
                only_present=True,
            )
        case "oracle-clicks":
            return OracleClicks(models.segmenter)
        case "interactive":
            return Interactive(models.segmenter)
        case _:
            return PolicyMethod(name, locator or models, limits, only_known=True)


def _why_not(
    name: str, policy: str, models: LoadedModels, locator: LoadedModels | None
) -> str | None:
    """Why a baseline would say nothing here, in words; None where it does."""
    prompts, segmenter = models.segmenter.supported_prompts, models.segmenter.name
    takes_box, takes_clicks = PromptKind.BOX in prompts, PromptKind.POINT in prompts
    reasons = {
        "box-only": f"{segmenter} takes boxes only, so it is the policy"
        if prompts == BOXES
        else (None if takes_box else f"{segmenter} takes no box"),
        "oracle-box": None if takes_box else f"{segmenter} takes no box",
        "oracle-clicks": None if takes_clicks else f"{segmenter} takes no clicks",
        "interactive": None
        if takes_box and takes_clicks
        else f"{segmenter} takes no {'clicks' if takes_box else 'box'}",
        LOCATOR: "it is the policy"
        if policy == LOCATOR
        else (None if locator else "its models are not open"),
    }
    return reasons.get(name)
