"""Stand-ins for the server's seams, for tests: no models, no network, always the same answer.

All of them leave what they did in files, so that a process killed at any point can be asked
afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

from agent.actions import AddBox
from agent.turns import Outcome, Turn
from agent.values import Box, Role, Target, TargetStatus
from dicom_node.errors import DeliveryError, NotAVolume
from dicom_node.result_kinds import DEFAULT_KINDS
from dicom_node.results.uids import result_uid
from dicom_node.values import ResultIdentity, ResultKind, WrittenResult
from server.files import write_file
from server.values import Assignment, Selection, TargetSummary

TURNS = 2
ENCODER_PASSES = 3


def ignore(_point: str) -> None:
    """A hook that does nothing."""


class FakeStages:
    """Stages that take no time. `hook` is called at named points and may block, kill or raise:

    "select", "outline 0", "follow", "segment 0", "segment 0 turn 1", "write", "written", "discard".

    Targets called "absent" and "uncertain" are that, "unknown" has failed, anything else is 12.5
    ml. A target called "no volume" makes the study one that is refused. With `models` named, the
    same targets have the same answer; otherwise no two requests have.
    """

    def __init__(
        self, folder: Path, hook: Callable[[str], None] = ignore, models: str | None = None
    ) -> None:
        self._folder = folder
        self._hook = hook
        self._models = models
        self._encoded: set[str] = set()

    def select(self, assignment: Assignment) -> Selection:
        """See Stages."""
        self._hook("select")
        if any(target.text == "no volume" for target in assignment.targets):
            raise NotAVolume("series 1 is no volume: images 3 and 4 are at the same position")
        series = assignment.series_instance_uid or f"{assignment.study_instance_uid}.1"
        return Selection(series, (3, 4, 5), ("spacing differs by 1 %",), "It is the only series.")

    def answer_digest(self, assignment: Assignment) -> str:
        """See Stages."""
        if self._models is None:
            return assignment.request_id
        return f"{self._models}: {', '.join(target.text for target in assignment.targets)}"

    def reuse(
        self,
        assignment: Assignment,  # noqa: ARG002 - the signature of Stages
        earlier_id: str,  # noqa: ARG002 - the signature of Stages
        results: Sequence[WrittenResult],
    ) -> tuple[WrittenResult, ...] | None:
        """See Stages; the files are shared."""
        self._hook("reuse")
        here = all(result.path.is_file() for result in results)
        return tuple(results) if here else None

    def outline(
        self,
        assignment: Assignment,  # noqa: ARG002 - the signature of Stages
        index: int,
        on_turn: Callable[[Turn], None],  # noqa: ARG002 - the signature of Stages
    ) -> None:
        """See Stages; the turns come when the target is finished."""
        self._hook(f"outline {index}")

    def follow(
        self,
        assignment: Assignment,  # noqa: ARG002 - the signature of Stages
        on_turn: Callable[[int, Turn], None],  # noqa: ARG002 - the signature of Stages
    ) -> None:
        """See Stages."""
        self._hook("follow")

    def finish(
        self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]
    ) -> TargetSummary:
        """See Stages."""
        self._hook(f"segment {index}")
        self._encoded.add(assignment.request_id)
        for turn in range(TURNS):
            on_turn(_turn(turn))
            self._hook(f"segment {index} turn {turn}")
        return _summary(index, assignment.targets[index])

    def write(
        self, assignment: Assignment, targets: Sequence[TargetSummary]
    ) -> tuple[WrittenResult, ...]:
        """See Stages; the SEG is left out when nothing was segmented."""
        self._hook("write")
        identity = ResultIdentity(assignment.request_id, assignment.study_version)
        kinds = {ResultKind.SR: ComprehensiveSRStorage}
        if any(target.status == TargetStatus.SEGMENTED for target in targets):
            kinds = {ResultKind.SEG: SegmentationStorage, **kinds}
        results = tuple(
            self._result(identity, kind, sop_class) for kind, sop_class in kinds.items()
        )
        self._hook("written")
        return results

    def discard(self, assignment: Assignment) -> None:
        """See Stages."""
        self._hook("discard")
        self._encoded.discard(assignment.request_id)

    def encoder_passes(self, assignment: Assignment) -> int:
        """See Stages."""
        return ENCODER_PASSES if assignment.request_id in self._encoded else 0

    def _result(self, identity: ResultIdentity, kind: ResultKind, sop_class: str) -> WrittenResult:
        uid = result_uid(identity, f"{kind} instance")
        path = self._folder / f"{uid}.{kind.lower()}"
        write_file(path, lambda stream: stream.write(uid.encode("ascii")))
        return WrittenResult(kind, path, sop_class, uid, result_uid(identity, f"{kind} series"))


class FolderDestination:
    """A Destination that is a folder: a file a SOP Instance UID, a line in `sends` for each send.

    `hook` is called with "send" before and "stored" after it has taken everything; it may raise
    a DeliveryError.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        hook: Callable[[str], None] = ignore,
        kinds: Collection[ResultKind] = DEFAULT_KINDS,
    ) -> None:
        self._name = name
        self.kinds = kinds
        self._folder = folder
        self._hook = hook

    @property
    def name(self) -> str:
        """Name in configuration and in the record."""
        return self._name

    def echo(self) -> None:
        """Always answers."""

    def negotiate(self) -> None:
        """Always agrees."""

    def send(self, results: Sequence[WrittenResult]) -> str:
        """Take all results."""
        self._hook("send")
        for result in results:
            content = result.path.read_bytes()
            (self._folder / f"{result.kind}-{result.sop_instance_uid}").write_bytes(content)
            with (self._folder / "sends").open("a", encoding="ascii") as sends:
                sends.write(f"{result.kind} {result.sop_instance_uid}\n")
        self._hook("stored")
        return ""

    def stored(self, kind: str) -> list[str]:
        """SOP Instance UIDs held of `kind`, each once however often it came."""
        return sorted(path.name.partition("-")[2] for path in self._folder.glob(f"{kind}-*"))


class FailingHook:
    """A hook that raises `failures` in turn when `point` is reached, then lets all pass."""

    def __init__(self, point: str, failures: Sequence[DeliveryError]) -> None:
        self._point = point
        self._failures = list(failures)

    def __call__(self, point: str) -> None:
        """Raise what is next."""
        if point == self._point and self._failures:
            raise self._failures.pop(0)


def _turn(index: int) -> Turn:
    box = AddBox(Box(1.0, 1.0, 3.0 + index, 3.0))
    return Turn(slice_index=1, index=index, role=Role.KEY, action=box, outcome=Outcome.KEPT)


def _summary(index: int, target: Target) -> TargetSummary:
    status = {
        "absent": TargetStatus.ABSENT,
        "uncertain": TargetStatus.UNCERTAIN,
        "unknown": TargetStatus.FAILED,
    }.get(target.text, TargetStatus.SEGMENTED)
    segmented = status == TargetStatus.SEGMENTED
    return TargetSummary(
        index=index,
        text=target.text,
        structure=target.structure,
        status=status,
        reason="" if segmented else f"{target.text} for the test",
        volume_ml=12.5 if segmented else None,
        turns=TURNS,
        confidence=0.75 if segmented else None,
    )
