"""What can go wrong in the models' room.

ModelsError
├── UnknownModel          no segmenter or policy of that name; `known` says which there are
│   └── BrokenPlugin      there is one, of another distribution, and it cannot be used
├── WeightsMissing        a weights file is not where the manifest says
├── FetchFailed           weights could not be fetched; the message says what to do
├── WeightsChanged        a weights file is not the one published or recorded
├── CheckpointUnreadable  a file given as a checkpoint is none; `reason` says why
├── WrongArchitecture     a checkpoint is another network's: `expected` and `found` say whose
├── DeviceMissing         a device of the settings is not in this machine
├── UnsupportedPrecision  the model cannot compute with the precision of the settings
├── UnusableModel         a language model cannot be used as it lies there; `reason` says why
├── CannotPromote         a trained policy cannot be put in use, or the one before it again
├── LanguageMisconfigured a setting of the language model cannot be used; the message names it
│   └── HostNotAllowed    patient data may not go to that host
├── MemoryShort           memory for a model was not to be had in time
├── SegmenterAway         a segmenter on a server cannot be asked; the message says what to do
├── PromptNotUnderstood   a segmenter was asked with a kind of prompt that it cannot use
├── ExportFailed          trajectories cannot be written or read where they lie; `reason` says why
├── UnusableData          a data set cannot be used as it lies there; `reason` says why
│   └── LeakedPatients    patients of a data set are in two splits; `patients` says which
├── TrainingRefused       a training run cannot begin as it is set; the message says what to do
├── TrainingStopped       a training run had to stop; the message says where and what is kept
├── EvaluationFailed      an evaluation cannot begin, go on or be compared; the message says why
└── UnreadableFile        an image or volume file that no reader understands
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class ModelsError(Exception):
    """Root of the models' errors."""


class UnknownModel(ModelsError):
    """No `kind` ("segmenter", "policy") is called `name`; `known` are the names there are."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        self.kind, self.name, self.known = kind, name, known
        super().__init__(f"there is no {kind} called '{name}'. Choose one of: {', '.join(known)}.")


class BrokenPlugin(UnknownModel):
    """The plug-in `name` of a `kind` is installed and cannot be used; `fault` says why."""

    def __init__(self, kind: str, name: str, fault: str) -> None:
        super().__init__(kind, name, ())
        self.fault = fault
        self.args = (f"{fault}. Repair or remove that distribution, or choose another {kind}.",)


class WeightsMissing(ModelsError):
    """The weights `name` are not at `path`; `remedy` says what to do."""

    def __init__(self, name: str, path: Path, remedy: str) -> None:
        self.name, self.path, self.remedy = name, path, remedy
        super().__init__(f"the weights of {name} are not at {path}. {remedy}.")


class FetchFailed(ModelsError):
    """Weights could not be fetched from `url`; `reason` says why and what to do."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}")


class WeightsChanged(ModelsError):
    """What is at `path` is not the weights `name` as published or recorded; both SHA-256 are
    hexadecimal.
    """

    def __init__(self, name: str, path: Path, expected: str, found: str) -> None:
        self.name, self.path, self.expected, self.found = name, path, expected, found
        super().__init__(
            f"{path} is not the known {name}: its SHA-256 is {found}, expected {expected}. "
            "It was changed or damaged; remove it and install or fetch it again."
        )


class CheckpointUnreadable(ModelsError):
    """The file at `path` is no checkpoint that can be read without running code; `reason` in one
    sentence.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} cannot be read as a checkpoint: {reason}. Name another file.")


class WrongArchitecture(ModelsError):
    """A checkpoint holds another network's weights: `expected` and `found` in words, `path` where
    it was a file.
    """

    def __init__(self, expected: str, found: str, path: Path | None = None) -> None:
        self.expected, self.found, self.path = expected, found, path
        where = f"{path} holds" if path is not None else "the checkpoint holds"
        super().__init__(
            f"{where} {found}, not {expected}. "
            "Choose the segmenter that fits it or name another file."
        )


class UnusableModel(ModelsError):
    """The language model `model` (a folder, a name) cannot be used; `reason` says why in one
    sentence.
    """

    def __init__(self, model: str, reason: str) -> None:
        self.model, self.reason = model, reason
        super().__init__(f"{model} cannot be used: {reason}.")


class CannotPromote(ModelsError):
    """The policy `name` cannot be put in use, or back in use; `reason` says why in one sentence."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name} is not put in use: {reason}.")


class LanguageMisconfigured(ModelsError):
    """The setting `key` of the language model cannot be used; `reason` says why, and never repeats
    a secret.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(f"{key}: {reason}")


class HostNotAllowed(LanguageMisconfigured):
    """Patient data may not go to `host` ("host:port"), because the site has not said so under
    `key`.
    """

    def __init__(self, host: str, key: str) -> None:
        self.host = host
        super().__init__(
            key,
            f"patient data may not go to {host}. If it may, and only then, "
            f'set {key} = ["{host}"]; nothing was sent.',
        )


class DeviceMissing(ModelsError):
    """The settings name a device `device` that this machine has not; `gpus` is how many GPUs it
    has.
    """

    def __init__(self, device: str, gpus: int) -> None:
        self.device, self.gpus = device, gpus
        super().__init__(
            f"there is no device '{device}' here (GPUs that can be used: {gpus}). "
            "Set it to auto, cpu or cuda:N."
        )


class UnsupportedPrecision(ModelsError):
    """The settings name a `precision` that a model, which is there, cannot compute with."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        super().__init__(
            f"models.precision = '{precision}' is for the segmenter litemedsam alone. "
            "Set it to auto, float32 or bfloat16, or use that segmenter and the policy locator."
        )


class MemoryShort(ModelsError):
    """`wanted_bytes` were not to be had within `patience_s`; `free_bytes` is what was free at the
    end.
    """

    def __init__(self, wanted_bytes: int, free_bytes: int, patience_s: float) -> None:
        self.wanted_bytes, self.free_bytes, self.patience_s = wanted_bytes, free_bytes, patience_s
        super().__init__(
            f"{wanted_bytes >> 20} MB for a model were not free within {patience_s:g} s "
            f"({free_bytes >> 20} MB are); "
            "work elsewhere on this machine, or set models.memory_bytes"
        )


class PromptNotUnderstood(ModelsError):
    """A segmenter was asked with prompts that it cannot use; `supported_prompts` names the kinds it
    can.
    """

    def __init__(self, segmenter: str, supported_prompts: tuple[str, ...]) -> None:
        self.segmenter, self.supported_prompts = segmenter, supported_prompts
        super().__init__(
            f"{segmenter} needs a prompt of one of these kinds and no other: "
            f"{', '.join(supported_prompts)}."
        )


class SegmenterAway(ModelsError):
    """The segmentation server `host` ("host:port") cannot be asked, or answers what it should not;
    `reason` says which.
    """

    def __init__(self, host: str, reason: str) -> None:
        self.host, self.reason = host, reason
        super().__init__(
            f"the segmenter at {host} {reason}. Start segnode sessions there, of this version, or "
            "name another by --segmenter-url."
        )


class ExportFailed(ModelsError):
    """Trajectories cannot be written to `path`, or read from it; `reason` says why and what to do
    in one sentence.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}.")


class UnusableData(ModelsError):
    """The data set at `path` cannot be used; `reason` says why, without a full stop."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} cannot be used as a data set: {reason}.")


class LeakedPatients(UnusableData):
    """Patients of the data set at `path` are in more than one split: `patients` with their
    splits.
    """

    def __init__(self, path: Path, patients: Mapping[str, tuple[str, ...]]) -> None:
        self.patients = patients
        named = [f"{name} ({' and '.join(splits)})" for name, splits in patients.items()]
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        super().__init__(
            path,
            f"{len(named)} of its patients are in more than one split: {', '.join(named[:5])}"
            f"{more}; split it anew by patient (segnode data check --split-anew --write-manifest)",
        )


class TrainingRefused(ModelsError):
    """A training run cannot begin as it is set; the message says what to do."""


class TrainingStopped(ModelsError):
    """A training run had to stop; the message says where, why, and what is kept."""


class EvaluationFailed(ModelsError):
    """An evaluation cannot begin, go on, or be compared with another; says what to do."""


class UnreadableFile(ModelsError):
    """A file that is no image or volume of a kind we read; `reason` says why in one sentence."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path.name} cannot be read: {reason}")
