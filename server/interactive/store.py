"""Sessions: an image and its prompts, drawn turn by turn, each session by one caller at a time.

They are kept in an OrderedDict and not by cachetools: a full store refuses a new session and drops
none, and a session ends when it has not been used for a while, not so long after it began.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agent.actions import AddBox, AddPoint
from agent.values import Prompts, Segmentation
from server.errors import BadPrompt, NothingToUndo, TooManySessions, UnknownSession
from server.interactive.bounds import Bounds
from server.interactive.drawing import SegmenterService
from server.interactive.images import SentImage

_ID_BYTES = 16


@dataclass(frozen=True, eq=False)
class SessionState:
    """Where a session stands: `prompts`, the last `segmentation`, whether that is current."""

    prompts: Prompts
    segmentation: Segmentation | None = None
    answered: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of mask and logits."""
        return (
            0
            if self.segmentation is None
            else self.segmentation.mask.nbytes + self.segmentation.logits.nbytes
        )


@dataclass(eq=False)
class Session:
    """One session.

    `shape` (rows, columns) of its image, and how it is `shown`; `past` the states that undo goes
    back to, oldest first.
    """

    id: str
    owner: str
    image: SentImage
    shape: tuple[int, int]
    shown: str
    segmenter: SegmenterService
    target: str
    state: SessionState
    used_s: float
    max_prompts: int
    past: list[SessionState] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, action: AddBox | AddPoint) -> None:
        """One more box or click; BadPrompt, PromptNotUnderstood, and then nothing has changed."""
        with self.lock:
            if len(self.past) >= self.max_prompts:
                raise BadPrompt(f"a session takes {self.max_prompts} boxes and clicks; undo some")
            prompts = self.segmenter.add(self.state.prompts, action, self.shape)
            self.past.append(self.state)
            self.state = replace(self.state, prompts=prompts, answered=False)

    def undo(self) -> None:
        """Take the last box or click back, with what was drawn since; NothingToUndo."""
        with self.lock:
            if not self.past:
                raise NothingToUndo("there is no box or click to take back")
            self.state = self.past.pop()

    def segment(self) -> Segmentation:
        """The mask for all prompts, going on from the last one; asked again, the same one."""
        with self.lock:
            if self.state.segmentation is None or not self.state.answered:
                prompts = self.segmenter.going_on(self.state.prompts, self.state.segmentation)
                segmentation = self.segmenter.draw(self.image, prompts)
                self.state = replace(self.state, segmentation=segmentation, answered=True)
            return self.state.segmentation  # type: ignore[return-value] # made just now, if not before

    @property
    def nbytes(self) -> int:
        """Bytes of masks and logits; the image counts apart, since sessions share it."""
        # states share what they have in common, and a copy is safe to walk while another thread
        # appends
        distinct = {
            id(state.segmentation): state.nbytes for state in (*list(self.past), self.state)
        }
        return sum(distinct.values())


class SessionStore:
    """The sessions of one process; `clock` tells seconds from some fixed start."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._bounds, self._clock = bounds, clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._sessions)

    def open(
        self, owner: str, image: SentImage, segmenter: SegmenterService, target: str
    ) -> Session:
        """A new session, after its image was encoded if it is not yet.

        TooManySessions, BadImage, ImageTooLarge.
        """
        self.check_room()
        shape = segmenter.shape_of(image)
        shown = segmenter.words_of(image.name)
        with self._lock:
            self._check_room()
            session = Session(
                id=secrets.token_hex(_ID_BYTES),
                owner=owner,
                image=self._shared(image),
                shape=shape,
                shown=shown,
                segmenter=segmenter,
                target=target,
                state=SessionState(segmenter.named(target)),
                used_s=self._clock(),
                max_prompts=self._bounds.max_prompts,
            )
            self._sessions[session.id] = session
            return session

    def get(self, session_id: str, owner: str) -> Session:
        """The session, used now; UnknownSession also for one of somebody else."""
        with self._lock:
            self._expire()
            session = self._sessions.get(session_id)
            if session is None or session.owner != owner:
                raise UnknownSession("there is no such session; it has ended, or never was")
            session.used_s = self._clock()
            self._sessions.move_to_end(session_id)
            return session

    def close(self, session_id: str, owner: str) -> None:
        """End a session; UnknownSession."""
        self.get(session_id, owner)
        with self._lock:
            self._sessions.pop(session_id, None)

    def check_room(self) -> None:
        """TooManySessions when no memory is left, or no more session is taken."""
        with self._lock:
            self._check_room()

    def check_memory(self) -> None:
        """TooManySessions when no memory is left for another mask."""
        with self._lock:
            self._expire()
            self._check_memory()

    def _check_room(self) -> None:
        self._expire()
        if len(self._sessions) >= self._bounds.max_sessions:
            raise TooManySessions(
                f"{len(self._sessions)} sessions are open (sessions.max_sessions): close some"
            )
        self._check_memory()

    def _check_memory(self) -> None:
        images = {
            session.image.name: len(session.image.content) for session in self._sessions.values()
        }
        states_bytes = sum(session.nbytes for session in self._sessions.values())
        if sum(images.values()) + states_bytes >= self._bounds.memory_bytes // 2:
            raise TooManySessions("the open sessions fill sessions.memory_bytes: close some")

    def _expire(self) -> None:
        last_s = self._clock() - self._bounds.idle_s
        while self._sessions and next(iter(self._sessions.values())).used_s < last_s:
            self._sessions.popitem(last=False)

    def _shared(self, image: SentImage) -> SentImage:
        """The same image of another session, if any, so that a batch of rollouts holds it once."""
        images = (session.image for session in self._sessions.values())
        same = (other for other in images if other.name == image.name)
        return next(same, image)
