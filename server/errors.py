"""What can go wrong in the server, and in which words.

ServerError
├── ConfigurationError     a setting is unknown, unsafe or of the wrong kind; names the key
├── RequestError           a request cannot be taken
│   ├── NoTargets          nothing was asked for
│   ├── BadTarget          a target that is empty, endless or no text
│   ├── TooManyTargets     more than agent.max_targets
│   ├── UnknownDestination a destination that is not configured
│   ├── UnknownStudy       the node does not hold the study
│   ├── UnknownRequest     no request of that id
│   ├── UnknownTurn        a request has no turn of that number
│   ├── StudyIncomplete    the study is still arriving
│   ├── WrongState         the request is not in a state that allows this
│   ├── UnknownSession     no segmentation session of that id
│   ├── TooManySessions    no more sessions are taken for now
│   ├── TooManyCalls       as many calls of a kind as may wait at once do so
│   ├── NothingToUndo      a session without prompts
│   ├── BadPrompt          a box, click or logits that cannot be used on this image
│   ├── BadImage           what was sent is no image
│   ├── ImageTooLarge      an image of more pixels than are taken
│   └── UnknownImage       an image that is not kept
├── NothingToReport        every target of a request failed
├── OutlineLost            what an earlier stage left in the work folder is gone
├── InputError             a local file that `segnode segment` cannot use
├── ReplayError            a request's turns cannot be gone through again, or do not agree
│   └── TurnsGone          a turn cannot be drawn any more
├── PictureFailed          drawing a turn took too much memory or time
├── NodeUnreachable        no node answers where a command looked for one
├── RunEnded               a request was cancelled, superseded or begun anew while it was worked on
├── DemoFailed             the demo did not end as it must
└── RecordError            PostgreSQL did not do what was asked of it
    ├── RecordUnavailable  no connection, or nothing can be written at all; worth trying again
    └── RecordRefused      PostgreSQL answered, and refused this very statement or value
"""

from __future__ import annotations


class ServerError(Exception):
    """Root of the server's errors."""


class ConfigurationError(ServerError):
    """Settings are unknown, unsafe or of the wrong kind: `faults`, each a sentence."""

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class RequestError(ServerError):
    """A request cannot be taken."""


class NoTargets(RequestError):
    """Nothing was asked for."""


class BadTarget(RequestError):
    """A target that is empty, endless or no text."""


class TooManyTargets(RequestError):
    """More targets than agent.max_targets."""


class UnknownDestination(RequestError):
    """A destination that is not configured."""


class UnknownStudy(RequestError):
    """The node does not hold the study."""


class UnknownRequest(RequestError):
    """No request of that id."""


class UnknownTurn(RequestError):
    """A request has no turn of that number."""


class StudyIncomplete(RequestError):
    """The study is still arriving."""


class WrongState(RequestError):
    """The request is not in a state that allows this."""


class UnknownSession(RequestError):
    """No segmentation session of that id that the caller may use."""


class TooManySessions(RequestError):
    """No more segmentation sessions are taken for now; worth trying again."""


class TooManyCalls(RequestError):
    """As many calls of one kind as may wait for somebody else at once do so; worth trying again."""


class NothingToUndo(RequestError):
    """A session without boxes and clicks."""


class BadPrompt(RequestError):
    """A box, click, mask or logits that cannot be used on this image."""


class BadImage(RequestError):
    """What was sent is no image of a kind that is read."""


class ImageTooLarge(RequestError):
    """An image of more pixels than are taken."""


class UnknownImage(RequestError):
    """An image named by its hash that is not kept, or no more."""


class NothingToReport(ServerError):
    """Every target of a request failed; the message gathers why."""


class OutlineLost(ServerError):
    """What an earlier stage left of a target in the work folder is gone; a retry begins anew."""


class InputError(ServerError):
    """A local file that `segnode segment` cannot use."""


class ReplayError(ServerError):
    """A request's turns cannot be gone through again: what is missing or changed, in a sentence."""


class TurnsGone(ReplayError):
    """A turn cannot be drawn any more: its masks or its study are gone, or do not agree."""


class PictureFailed(ServerError):
    """Drawing a turn took too much memory or time."""


class NodeUnreachable(ServerError):
    """No node answers where a command looked for one."""


class RunEnded(ServerError):
    """A request was cancelled, superseded or begun anew while it was worked on: drop the work.

    `over` when nobody works on it any more; otherwise a later run uses what this one left.
    """

    def __init__(self, message: str, *, over: bool) -> None:
        self.over = over
        super().__init__(message)


class DemoFailed(ServerError):
    """The demo did not end as it must."""


class RecordError(ServerError):
    """PostgreSQL did not do what was asked of it. No message holds SQL or a value."""


class RecordUnavailable(RecordError):
    """PostgreSQL is away, or can write nothing: worth trying again."""


class RecordRefused(RecordError):
    """PostgreSQL answered and refused: the fault of the statement, not of the connection.

    `sqlstate` is its code (PostgreSQL, appendix A), empty when the driver refused before it.
    `passing` when the same may be taken a moment later: transactions that got in each other's way.
    """

    def __init__(self, message: str, *, sqlstate: str = "", passing: bool = False) -> None:
        self.sqlstate, self.passing = sqlstate, passing
        super().__init__(message)
