"""How a language model is asked, whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from agent.conditions import PictureSettings
from agent.language.overlay import Overlay
from agent.protocol.coordinates import Coordinates
from agent.protocol.dialects import Dialect


class WrongSetting(ValueError):
    """The `setting` of that name cannot be used; `reason` says why without its value."""

    def __init__(self, setting: str, reason: str) -> None:
        self.setting, self.reason = setting, reason
        super().__init__(f"{setting} {reason}")


@dataclass(frozen=True)
class LanguageSettings:
    """How a language model is asked. WrongSetting for one that is out of its bounds.

    `dialect` how it writes its actions, `coordinates` in what numbers; `native_tools` offers the
    functions to the server instead of in the text (tool calls only); `history` whether it is shown
    all its turns, or only the newest picture as IBISAgent is; `image_px` the side of the square
    picture of a slice, 0 for the slice's own size; `zoom` shows only the surroundings of a
    neighbour's outline where there is one; `sheets` contact sheets of `sheet_slices` slices, each
    tile `tile_px` wide, cut to the body or the object with `crop_sheets`; `overlay` how a mask is
    shown; `repeat_pictures` shows a picture again that a conversation has already, instead of
    naming it. The first try is at `temperature`; every try
    after one without effect adds `retry_temperature`, and a question about the whole volume is
    asked again `retries` times. `prompts` a folder of the site's own prompt files.
    """

    dialect: Dialect = Dialect.TOOL_CALL
    coordinates: Coordinates = Coordinates.AUTO
    native_tools: bool = False
    history: bool = True
    image_px: int = 512
    zoom: bool = True
    sheets: int = 1
    sheet_slices: int = 20
    tile_px: int = 192
    crop_sheets: bool = True
    overlay: Overlay = Overlay.CONTOUR
    repeat_pictures: bool = False
    temperature: float = 0.0
    retry_temperature: float = 0.3
    retries: int = 2
    max_new_tokens: int = 512
    prompts: Path | None = None

    def __post_init__(self) -> None:
        fixed = self.dialect is Dialect.THINK_ACTION
        if fixed and self.coordinates not in (Coordinates.AUTO, Coordinates.FRACTIONS):
            raise WrongSetting("coordinates", "must be auto or fractions with think_action")
        require_within(
            self,
            {
                "image_px": (0, 4096),
                "sheets": (1, 20),
                "sheet_slices": (1, 400),
                "tile_px": (48, 4096),  # less cannot hold a slice's number
                "temperature": (0, 2),
                "retry_temperature": (0, 2),
                "retries": (0, 100),
                "max_new_tokens": (1, inf),
            },
        )

    @property
    def pictures(self) -> PictureSettings:
        """The settings that pictures depend on."""
        return PictureSettings(
            str(self.dialect),
            self.image_px,
            self.zoom,
            self.sheets,
            self.sheet_slices,
            self.tile_px,
            str(self.overlay),
            self.crop_sheets,
            self.repeat_pictures,
        )

    @property
    def most_tiles(self) -> int:
        """Slices that are shown at most, on all contact sheets together."""
        return self.sheets * self.sheet_slices

    @property
    def offers_tools(self) -> bool:
        """Whether functions are offered to the server: native tools have no think/action form."""
        return self.native_tools and self.dialect is Dialect.TOOL_CALL

    def temperature_after(self, failures: int) -> float:
        """The temperature of a try after `failures` tries in a row without effect."""
        return self.temperature + failures * self.retry_temperature


def require_within(settings: object, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raise WrongSetting for the first attribute that is not within its bounds, both included."""
    for name, (least, most) in bounds.items():
        value = getattr(settings, name)
        if not value >= least:  # not a number is within no bounds
            raise WrongSetting(name, f"must be at least {least}")
        if value > most:
            raise WrongSetting(name, f"must be at most {most}")
