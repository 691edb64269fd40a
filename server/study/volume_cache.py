"""The volumes that a worker has ready for its models: one for each request it works on.

They are in an OrderedDict and not in a cache of cachetools, which makes room when the new entry is
there already: room for a volume is made before it is prepared.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from server.ports import Prepared


class PreparedVolumes:
    """At most `most` prepared volumes, by request; the longest unused one goes first.

    For threads that work on different requests.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._ready: OrderedDict[str, Prepared] = OrderedDict()
        self._lock = Lock()

    def of(self, request_id: str, prepare: Callable[[], Prepared]) -> Prepared:
        """The request's volume; where it is not ready, room is made and `prepare` makes it."""
        with self._lock:
            if request_id in self._ready:
                self._ready.move_to_end(request_id)
                return self._ready[request_id]
            while len(self._ready) >= self._most:
                self._ready.popitem(last=False)
        prepared = prepare()
        with self._lock:
            self._ready[request_id] = prepared
        return prepared

    def drop(self, request_id: str) -> None:
        """Give the request's volume up."""
        with self._lock:
            self._ready.pop(request_id, None)

    def encoder_passes(self, request_id: str) -> int:
        """How often the image encoder ran for the request's volume; 0 where it is not ready."""
        with self._lock:
            prepared = self._ready.get(request_id)
        return prepared.encoder_passes if prepared else 0
