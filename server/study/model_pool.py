"""The models of one worker: pairs of policy and segmenter, opened at their first request.

They are in an OrderedDict and not in a cache of cachetools, which makes room when the new entry is
there already: two large models may not fit where one does.
"""

from __future__ import annotations

import gc
import logging
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from models.pair import ModelPair
from server.ports import LoadedModels

logger = logging.getLogger(__name__)


class ModelPool:
    """At most `at_once` open workbenches; `open_bench` loads the models of a pair."""

    def __init__(self, open_bench: Callable[[ModelPair], LoadedModels], at_once: int) -> None:
        self._open = open_bench
        self._at_once = at_once
        self._kept: OrderedDict[ModelPair, LoadedModels] = OrderedDict()
        self._lock = Lock()

    def bench(self, pair: ModelPair) -> LoadedModels:
        """The pair's workbench; whatever opening raises leaves the others open."""
        with self._lock:
            if pair not in self._kept:
                # room first: two large models may not fit where one does
                while len(self._kept) >= self._at_once:
                    given_up = next(iter(self._kept))
                    logger.info("giving up %s + %s", given_up.policy, given_up.segmenter)
                    del self._kept[given_up]
                    gc.collect()  # models refer to themselves: without it they go when nobody knows
                logger.info("opening %s + %s", pair.policy, pair.segmenter)
                self._kept[pair] = self._open(pair)
            self._kept.move_to_end(pair)
            return self._kept[pair]
