"""What a model may use and how it is set: the site's settings in the models' own words."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from pathlib import Path

from agent.language.settings import LanguageSettings, require_within


class Precision(StrEnum):
    """The numbers a network computes with; AUTO is bfloat16 on a GPU that has it and float32
    elsewhere, INT8 is for LiteMedSAM's image encoder on a processor (models.runtime.onnx_int8).
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


class Quantisation(StrEnum):
    """How a language model's weights are packed; NONE keeps them as they come."""

    NONE = ""
    INT8 = "int8"
    INT4 = "int4"


@dataclass(frozen=True)
class LanguageOptions(LanguageSettings):
    """How a language model is reached, and how it is asked (agent.language.settings).

    WrongSetting for one that is out of its bounds. `model` a folder (policy "transformers")
    or the name a server knows it by (policy "openai"). `every_slice` whether it is also asked on
    each slice that a structure is carried to. `batch` episodes in one go.

    For servers: `endpoints` base URLs in the order they are tried, `allowed_hosts` the only hosts
    that patient data may go to ("host" or "host:port"), `api_key_file`, `native_tools` whether the
    server takes tools beside the text, `concurrency` requests at once, `timeout_s` for one of
    `attempts`, prices in the site's currency for a million tokens. For models in this process:
    `quantisation` and `device_map` (how layers are spread over several GPUs; "" for one device).
    """

    model: str = ""
    every_slice: bool = False
    batch: int = 8
    quantisation: Quantisation = Quantisation.NONE
    device_map: str = ""
    endpoints: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    api_key_file: Path | None = None
    native_tools: bool = True  # unlike a chat of any kind, a server usually takes them
    concurrency: int = 4
    timeout_s: float = 60.0
    attempts: int = 4
    price_per_million_input: float = 0.0
    price_per_million_output: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(
            self,
            {
                "image_px": (28, 4096),  # a vision encoder's smallest picture
                "batch": (1, inf),
                "concurrency": (1, inf),
                "timeout_s": (0.001, inf),
                "attempts": (1, inf),
                "price_per_million_input": (0, inf),
                "price_per_million_output": (0, inf),
            },
        )


@dataclass(frozen=True)
class Resources:
    """What a model may use.

    `cache_dir` for compiled forms (None: the user's cache folder), `threads` a call (None: all
    cores), `weights_dir` where fetched weights lie (None: none are), `checkpoint` a file to load in
    place of the known one (None: the known one), `device` "auto", "cpu" or "cuda:N", `compiled`
    whether image encoders go through torch.compile on a GPU (faster slices for a minute's wait at
    the first), `memory_bytes` at most of the device's for models (0: what is free). Of slices
    closer than `draw_step_mm` a policy needs to look only at those that far apart (0: at each).
    """

    cache_dir: Path | None = None
    threads: int | None = None
    weights_dir: Path | None = None
    checkpoint: Path | None = None
    device: str = "auto"
    precision: Precision = Precision.AUTO
    compiled: bool = False
    memory_bytes: int = 0
    draw_step_mm: float = 0.0
    language: LanguageOptions = field(default_factory=LanguageOptions)
