"""`segnode models promote` and `rollback`: an evaluation's verdict, then the site's weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import CannotPromote
from models.evaluation.gate import MARGIN, judge, whole_run
from models.weights.hashes import digest_of, sums_of
from models.weights.promotion import PolicyVersions, version_of
from server.compose.choice import resources
from server.errors import InputError
from server.settings import Settings


@dataclass(frozen=True)
class Promotion:
    """What is to be put in use: the `model` folder under `name`, its `evaluation`, the evaluation
    of the version in use (None where there is none), and the `margin` (None: the gate's own).
    """

    model: Path
    name: str
    evaluation: Path
    against: Path | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Decision:
    """Whether the policy was `accepted`, why in a sentence, and the `version` now in use under its
    name, None while there is none.
    """

    accepted: bool
    reason: str
    version: str | None


def promote(settings: Settings, wanted: Promotion) -> Decision:
    """Put a model in use where the gate accepts it; the version in use stays otherwise.

    InputError and CannotPromote for evaluations that are not of these models, EvaluationFailed for
    those that cannot be compared.
    """
    margin = MARGIN if wanted.margin is None else wanted.margin
    if not 0 <= margin <= 1:
        raise InputError(f"--margin is 0 to 1, not {wanted.margin:g}")
    versions = PolicyVersions(_weights_dir(settings), wanted.name)
    _refuse_other_model(wanted.evaluation, digest_of(sums_of(wanted.model)), str(wanted.model))
    evidence: dict[str, Any] = {"evaluation": str(wanted.evaluation), "margin": margin}
    reason = f"the first version of {wanted.name}: there is none to be worse than"
    if versions.current is not None:
        if wanted.against is None:
            raise InputError(
                f"version {versions.current} of {wanted.name} is in use: evaluate it on the same "
                "data and say --against DIR"
            )
        _refuse_other_version(wanted.against, versions)
        verdict = judge(wanted.evaluation, wanted.against, margin)
        reason = verdict.reason
        if not verdict.accepted:
            return Decision(False, reason, versions.current)
        evidence |= {"against": str(wanted.against), "verdict": asdict(verdict)}
    version = versions.promote(wanted.model, _now(), evidence)
    return Decision(True, reason, version)


def rollback(settings: Settings, name: str, reason: str) -> str:
    """Put the version of `name` before the present one in use, and return it. CannotPromote."""
    evidence = {"reason": reason} if reason else {}
    return PolicyVersions(_weights_dir(settings), name).rollback(_now(), evidence)


def _weights_dir(settings: Settings) -> Path:
    return resources(settings).weights_dir or Path()


def _refuse_other_model(evaluation: Path, digest: str, name: str) -> None:
    """An evaluation says by its weights' hash which model it was of: its name may be anything."""
    if digest not in whole_run(evaluation).weights[:1]:
        raise CannotPromote(name, f"the evaluation in {evaluation} is of other weights")


def _refuse_other_version(evaluation: Path, versions: PolicyVersions) -> None:
    evaluated = [version_of(sha256) for sha256 in whole_run(evaluation).weights[:1]]
    if versions.current not in evaluated:
        raise CannotPromote(
            versions.name,
            f"the evaluation in {evaluation} is not of version {versions.current}, which is in use",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
