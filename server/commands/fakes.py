"""A composition that runs nothing, for tests of the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dicom_node.ports import Destination
from models.choice import Choice, choose
from models.runtime.resources import Resources
from models.weights.weights import Weights
from server.rules.catalogue import load_catalogue
from server.rules.routing import Rules
from server.settings import Settings
from server.values import TargetSummary


class FakeComposition:
    """A Composition that remembers what was run, in order, and answers as told.

    `error`, if set, is raised by whatever is run; `summaries` is what `segment` finds.
    """

    def __init__(
        self,
        *,
        error: Exception | None = None,
        summaries: Sequence[TargetSummary] = (),
        reachable: Sequence[Destination] = (),
        exit_code: int = 0,
    ) -> None:
        self.ran: list[tuple[object, ...]] = []
        self._error, self._exit_code = error, exit_code
        self._summaries, self._reachable = summaries, reachable

    def serve(self, settings: Settings, config_files: Sequence[Path]) -> int:
        """See Composition."""
        self._run("serve", settings.node.ae_title, tuple(config_files))
        return self._exit_code

    def listen(self, settings: Settings) -> None:
        """See Composition."""
        self._run("listen", settings.node.ae_title)

    def work(self, settings: Settings) -> None:
        """See Composition."""
        self._run("work", settings.node.ae_title)

    def api(self, settings: Settings) -> None:
        """See Composition."""
        self._run("api", settings.node.ae_title)

    def sessions(self, settings: Settings) -> None:
        """See Composition."""
        self._run("sessions", settings.node.ae_title)

    def segment(
        self,
        settings: Settings,
        path: Path,
        targets: Sequence[str],
        out: Path,
        progress: Callable[[str], None],
    ) -> Sequence[TargetSummary]:
        """See Composition."""
        agent = settings.agent
        self._run("segment", path, tuple(targets), out, agent.policy, agent.segmenter)
        for text in targets:
            progress(text)
        return self._summaries

    def rules(self, settings: Settings) -> Rules:
        """See Composition."""
        return Rules(load_catalogue(), (), settings.routes)

    def destinations(self, settings: Settings) -> Sequence[Destination]:
        """See Composition."""
        self.ran.append(("destinations", settings.node.ae_title))
        return self._reachable

    def choice(self, settings: Settings) -> Choice:
        """See Composition."""
        return choose(settings.agent.policy, settings.agent.segmenter, self.resources(settings))

    def resources(self, settings: Settings) -> Resources:
        """See Composition."""
        return Resources(weights_dir=Path(settings.models.dir or settings.storage.dir / "weights"))

    def fetch(self, settings: Settings, weights: Weights, progress: Callable[[str], None]) -> Path:
        """See Composition."""
        self._run("fetch", weights.name)
        progress(weights.name)
        return weights.locate(self.resources(settings).weights_dir)

    def dump(self, segmenter: str, case: Path, out: Path) -> None:
        """See Composition."""
        self._run("dump", segmenter, case, out)

    def database_version(self, settings: Settings) -> str:
        """See Composition."""
        self._run("database", settings.database.embedded)
        return "PostgreSQL 18.4"

    def _run(self, *what: object) -> None:
        self.ran.append(what)
        if self._error is not None:
            raise self._error
