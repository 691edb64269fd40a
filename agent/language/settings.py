"""How a language model is asked, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.protocol.dialects import Dialect


@dataclass(frozen=True)
class LanguageSettings:
    """How a language model is asked. ValueError when a number cannot be meant.

    `dialect` how it writes its actions; `native_tools` offers the functions to the server instead
    of in the text (tool calls only); `history` whether it is shown all its turns, or only the
    newest picture as IBISAgent is; `image_px` the side of the square picture of a slice, 0 for the
    slice's own size; `zoom` shows only the surroundings of a neighbour's outline where there is
    one; `sheets` contact sheets of `sheet_slices` slices, each tile `tile_px` wide. The first try
    is at `temperature`; every try after one without effect adds `retry_temperature`, and a question
    about the whole volume is asked again `retries` times. `prompts` a folder of the site's own
    prompt files.
    """

    dialect: Dialect = Dialect.TOOL_CALL
    native_tools: bool = False
    history: bool = True
    image_px: int = 512
    zoom: bool = False
    sheets: int = 1
    sheet_slices: int = 20
    tile_px: int = 192
    temperature: float = 0.0
    retry_temperature: float = 0.3
    retries: int = 2
    max_new_tokens: int = 512
    prompts: Path | None = None

    def __post_init__(self) -> None:
        counts = {
            "image_px": (self.image_px, 0),
            "sheets": (self.sheets, 1),
            "sheet_slices": (self.sheet_slices, 1),
            "tile_px": (self.tile_px, 48),  # less cannot hold a slice's number
            "temperature": (self.temperature, 0),
            "retry_temperature": (self.retry_temperature, 0),
            "retries": (self.retries, 0),
            "max_new_tokens": (self.max_new_tokens, 1),
        }
        for name, (value, least) in counts.items():
            if not value >= least:
                raise ValueError(f"{name} must be at least {least}, not {value}")

    @property
    def offers_tools(self) -> bool:
        """Whether functions are offered to the server: native tools have no think/action form."""
        return self.native_tools and self.dialect is Dialect.TOOL_CALL

    def temperature_after(self, failures: int) -> float:
        """The temperature of a try after `failures` tries in a row without effect."""
        return self.temperature + failures * self.retry_temperature
