"""What the commands need composed: server.compose.composition fits as it is, and tests pass a
fake.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dicom_node.ports import Destination
from models.choice import Choice
from models.runtime.resources import Resources
from models.weights.weights import Weights
from server.settings import Settings
from server.values import TargetSummary

if TYPE_CHECKING:  # it reads DICOM headers' words, and `segnode --help` shall load none of that
    from server.rules.routing import Rules


class Composition(Protocol):
    """The composition root, with one function for each kind of process; each imports its rooms
    inside.
    """

    def serve(self, settings: Settings, config_files: Sequence[Path]) -> int:
        """Run listener, workers and API as children until told to stop; the exit code."""

    def listen(self, settings: Settings) -> None:
        """Run the DICOM listener until told to stop."""

    def work(self, settings: Settings) -> None:
        """Run a worker until told to stop."""

    def api(self, settings: Settings) -> None:
        """Answer HTTP until told to stop."""

    def sessions(self, settings: Settings) -> None:
        """Answer the segmentation API until told to stop; UnknownModel."""

    def segment(
        self,
        settings: Settings,
        path: Path,
        targets: Sequence[str],
        out: Path,
        progress: Callable[[str], None],
    ) -> Sequence[TargetSummary]:
        """Segment a local file or folder into `out`; InputError, NotAVolume. `progress` is told in
        words.
        """

    def rules(self, settings: Settings) -> Rules:
        """What the site has configured about requests; ConfigurationError for a route that cannot
        work.
        """

    def destinations(self, settings: Settings) -> Sequence[Destination]:
        """The configured destinations."""

    def choice(self, settings: Settings) -> Choice:
        """The policy and the segmenter that the settings mean here, "auto" resolved."""

    def resources(self, settings: Settings) -> Resources:
        """What models may use; ConfigurationError."""

    def fetch(self, settings: Settings, weights: Weights, progress: Callable[[str], None]) -> Path:
        """Fetch weights into models.dir; where they are. `progress` is told in words.
        FetchFailed.
        """

    def dump(self, segmenter: str, case: Path, out: Path) -> None:
        """Run a case through a segmenter's network and write its arrays; ModelsError."""

    def database_version(self, settings: Settings) -> str:
        """What database answers, in words; RecordUnavailable, ConfigurationError."""


Run = Callable[[argparse.Namespace, Composition], int]
"""A command: what was parsed and what is composed in, the exit code out."""
