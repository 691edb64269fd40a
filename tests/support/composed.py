"""Processes that run nothing, for tests of the commands: what a command composes in, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from dicom_node.ports import Destination
from models.weights.weights import Weights
from server import compose
from server.compose.soundness.reach import answers
from server.errors import InputError
from server.settings import Settings
from server.values import TargetSummary


class ComposedProcesses:
    """Loads by name what looks like a module of server.compose, and remembers in `ran` what was
    run, in order.

    `error`, if set, is raised by whatever is run; `summaries` is what `segment` finds;
    `reachable` are the destinations.
    """

    def __init__(
        self,
        *,
        error: BaseException | None = None,
        summaries: Sequence[TargetSummary] = (),
        reachable: Sequence[Destination] = (),
        exit_code: int = 0,
    ) -> None:
        self.ran: list[tuple[object, ...]] = []
        self.opened = 0  # how often models were loaded
        self.unusable: set[Path] = set()  # what nothing can be segmented in
        self._error, self._exit_code = error, exit_code
        self._summaries, self._reachable = summaries, reachable

    def __call__(self, process: str) -> object:
        """The module of a process; what it does not do itself is the real one's."""
        runs: dict[str, dict[str, object]] = {
            "serve": {"run": self._serve},
            "segment": {
                "run": self._segment,
                "choice": compose.load("choice").choice,
                "open_models": self._open_models,
            },
            "weights": {"fetch": self._fetch, "resources": compose.load("choice").resources},
            "dump": {"dump": lambda *what: self._note("dump", *what)},
            "check": {
                "database_version": self._database_version,
                "answers": lambda _: answers(self._reachable),
                "findings": compose.load("check").findings,
                "second_weights": compose.load("check").second_weights,
                "choice": compose.load("choice").choice,
                "resources": compose.load("choice").resources,
            },
        }
        return SimpleNamespace(**runs.get(process, {"run": self._runner(process)}))

    def _runner(self, process: str) -> Callable[[Settings], int]:
        def run(settings: Settings) -> int:
            self._note(process, settings.node.ae_title)
            return self._exit_code

        return run

    def _serve(self, settings: Settings, config_files: Sequence[Path]) -> int:
        self._note("serve", settings.node.ae_title, tuple(config_files))
        return self._exit_code

    def _open_models(self, settings: Settings) -> Settings:
        self.opened += 1
        return settings

    def _segment(
        self,
        settings: Settings,
        path: Path,
        targets: Sequence[str],
        out: Path,
        progress: Callable[[str], None],
        *,
        modality: str,
        window: str,
    ) -> Sequence[TargetSummary]:
        agent = settings.agent
        if path in self.unusable:
            raise InputError(f"there is nothing at {path}")
        said = (modality, window) if window else (modality,)
        self._note("segment", path, tuple(targets), out, agent.policy, agent.segmenter, *said)
        for text in targets:
            progress(text)
        return self._summaries

    def _fetch(self, settings: Settings, weights: Weights, progress: Callable[[str], None]) -> Path:
        self._note("fetch", weights.name)
        progress(weights.name)
        return weights.locate(compose.load("choice").resources(settings).weights_dir)

    def _database_version(self, settings: Settings) -> str:
        self._note("database", settings.database.embedded)
        return "PostgreSQL 18.4"

    def _note(self, *what: object) -> None:
        self.ran.append(what)
        if self._error is not None:
            raise self._error
