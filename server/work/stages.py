"""One stage of a request as a step: does it, tells the record, and answers however it ended.

A step answers with what the workflow needs to go on, or None when the request has ended. It never
raises: what failed is in the record, in one sentence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from agent.errors import AgentError
from agent.turns import Turn
from dicom_node.errors import DicomNodeError, NotAVolume
from dicom_node.log_text import log_subject
from models.errors import ModelsError
from server.errors import RecordRefused, RunEnded, ServerError
from server.ports import Stages
from server.record.runs import Runs
from server.traces import bare_trace
from server.values import Assignment, Stage
from server.work.database_retry import retry_while_database_away
from server.work.deadlines import StageInterrupted, StageUnwanted, StageWatch

logger = logging.getLogger(__name__)

T = TypeVar("T")


class StageSteps:
    """The steps of the study workflow. `request_id` and `run` name the work in every call."""

    def __init__(self, stages: Stages, runs: Runs, watch: StageWatch) -> None:
        self._stages = stages
        self._runs = runs
        self._watch = watch

    def select(self, request_id: str, run: int) -> int | None:
        """Choose the series; how many targets there are."""

        def act(assignment: Assignment) -> int:
            started = time.monotonic()
            selection = self._stages.select(assignment)
            seconds = time.monotonic() - started
            retry_while_database_away(
                lambda: self._runs.selected(request_id, run, selection, seconds)
            )
            return len(assignment.targets)

        return self._step(request_id, run, Stage.SELECT, None, act)

    def repeat(self, request_id: str, run: int) -> bool | None:
        """Give the results of a request that asked the same again, where there are such."""

        def act(assignment: Assignment) -> bool:
            digest = self._stages.answer_digest(assignment)
            earlier = retry_while_database_away(
                lambda: self._runs.same_before(request_id, run, digest)
            )
            if earlier is None:
                return False
            results = self._stages.reuse(assignment, earlier.request_id, earlier.results)
            if results is None:
                return False
            retry_while_database_away(
                lambda: self._runs.repeated(request_id, run, earlier.request_id, results)
            )
            self._stages.discard(assignment)
            return True

        return self._step(request_id, run, Stage.OUTLINE, None, act)

    def outline(self, request_id: str, run: int, index: int) -> bool | None:
        """Draw one target on its key slices, turn by turn."""

        def on_turn(turn: Turn) -> None:
            retry_while_database_away(lambda: self._runs.turn(request_id, run, index, turn))

        def act(assignment: Assignment) -> bool:
            return self._timed(
                assignment, run, lambda: self._stages.outline(assignment, index, on_turn)
            )

        return self._step(request_id, run, Stage.OUTLINE, index, act)

    def follow(self, request_id: str, run: int) -> bool | None:
        """Follow all targets through the volume."""

        def on_turn(index: int, turn: Turn) -> None:
            retry_while_database_away(lambda: self._runs.turn(request_id, run, index, turn))

        def act(assignment: Assignment) -> bool:
            return self._timed(assignment, run, lambda: self._stages.follow(assignment, on_turn))

        return self._step(request_id, run, Stage.FOLLOW, None, act)

    def finish(self, request_id: str, run: int, index: int) -> bool | None:
        """Finish one target, turn by turn."""

        def on_turn(turn: Turn) -> None:
            retry_while_database_away(lambda: self._runs.turn(request_id, run, index, turn))

        def act(assignment: Assignment) -> bool:
            started, before = time.monotonic(), self._stages.encoder_passes(assignment)
            summary = self._stages.finish(assignment, index, on_turn)
            passes = max(self._stages.encoder_passes(assignment) - before, 0)
            seconds = time.monotonic() - started
            retry_while_database_away(
                lambda: self._runs.target_done(request_id, run, summary, seconds, passes)
            )
            return True

        return self._step(request_id, run, Stage.FINISH, index, act)

    def write(self, request_id: str, run: int) -> bool | None:
        """Write and check the results."""

        def act(assignment: Assignment) -> bool:
            started = time.monotonic()
            targets = retry_while_database_away(lambda: self._runs.targets(request_id))
            results = self._stages.write(assignment, targets)
            seconds = time.monotonic() - started
            retry_while_database_away(lambda: self._runs.written(request_id, run, results, seconds))
            self._stages.discard(assignment)
            return True

        return self._step(request_id, run, Stage.WRITE, None, act)

    def send(self, request_id: str, run: int) -> bool | None:
        """Hand the results over to the deliveries."""
        try:
            retry_while_database_away(lambda: self._runs.send(request_id, run))
        except RunEnded:
            return None
        except RecordRefused as refused:
            self._fail(request_id, run, Stage.SEND, str(refused))
            return None
        return True

    def _timed(self, assignment: Assignment, run: int, work: Callable[[], None]) -> bool:
        """Do a part of the work on targets and tell the record what it took."""
        started, before = time.monotonic(), self._stages.encoder_passes(assignment)
        work()
        passes = max(self._stages.encoder_passes(assignment) - before, 0)
        seconds = time.monotonic() - started
        retry_while_database_away(
            lambda: self._runs.worked(assignment.request_id, run, Stage.FINISH, seconds, passes)
        )
        return True

    def _step(
        self,
        request_id: str,
        run: int,
        stage: Stage,
        part: int | None,
        act: Callable[[Assignment], T],
    ) -> T | None:
        with ExitStack() as subjects:
            subjects.enter_context(log_subject(request=request_id))
            try:
                assignment = retry_while_database_away(
                    lambda: self._runs.enter(request_id, run, stage, part)
                )
            except RunEnded as ended:
                logger.info("%s", ended)
                return None
            except RecordRefused as refused:
                self._fail(request_id, run, stage, str(refused))
                return None
            subjects.enter_context(log_subject(study=assignment.study_instance_uid))
            try:
                with self._watch.stage(request_id, run, stage):
                    return act(assignment)
            except StageUnwanted:
                logger.info("request %s is not wanted any more: stopped in %s", request_id, stage)
                self._stages.discard(assignment)
            # it has ended in the record, and what it left is there for a retry
            except StageInterrupted:
                logger.info("request %s was stopped in %s", request_id, stage)
            except RunEnded as ended:
                logger.info("%s", ended)
                if ended.over:
                    self._stages.discard(assignment)
            except (ServerError, DicomNodeError, AgentError, ModelsError) as error:
                sentence = str(error)
                no_volume = stage is Stage.SELECT and isinstance(error, NotAVolume)
                logger.warning("request %s ended in %s: %s", request_id, stage, sentence)
                if no_volume:
                    self._tell(request_id, lambda: self._runs.reject(request_id, run, sentence))
                else:
                    self._fail(request_id, run, stage, sentence)
            # a step's boundary: whatever a stage raises, the request must end
            except Exception as error:  # noqa: BLE001
                logger.error("request %s failed in %s: %s", request_id, stage, bare_trace(error))
                # not the error's own words: a library may quote the file it read
                sentence = (
                    f"stage '{stage}' ended with a fault of Segnode itself; the log says where"
                )
                self._fail(request_id, run, stage, sentence)
            return None

    def _fail(self, request_id: str, run: int, stage: Stage, sentence: str) -> None:
        self._tell(request_id, lambda: self._runs.fail(request_id, run, stage, sentence))

    def _tell(self, request_id: str, call: Callable[[], None]) -> None:
        try:
            retry_while_database_away(call)
        except RunEnded as ended:
            logger.info("%s", ended)
        except RecordRefused as refused:
            logger.error("the end of request %s cannot be recorded: %s", request_id, refused)
