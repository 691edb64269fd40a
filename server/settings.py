"""Settings: typed, frozen, read once, unknown keys refused. Only the composition root reads them.

Units, defaults and reasons stand beside each key in config/default.toml, which is the first layer;
`--config` files follow in order, then the environment as SEGNODE_SECTION__KEY.

The layering is written here and not taken from pydantic-settings. Tried with its TOML and
environment sources, it read a `--config` file that is not there as empty, ignored
SEGNODE_NODES__PORT (a section that does not exist), named neither the file of a TOML fault nor the
variable of a faulty list, and took 262 ms of processor time to import in every command. Each of
these needs an override, after which little of the two sources is used.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

from dicom_node.log_text import LogFormat
from dicom_node.receive.allowed import AllowedPeers
from dicom_node.result_kinds import DEFAULT_KINDS, ResultKind, SegmentationEncoding
from models.runtime.resources import LanguageOptions, Precision
from server.database_url import fault_of
from server.errors import ConfigurationError
from server.settings_faults import did_you_mean, faults_of, variable_fault

ENVIRONMENT_PREFIX = "SEGNODE_"
EMBEDDED = "embedded"
# compose.yaml is given it, and puts it into a URL
_NO_SETTINGS = frozenset({"SEGNODE_DATABASE_PASSWORD"})
Port = Annotated[int, Field(ge=0, le=65535)]
AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")]
Name = Annotated[str, Field(min_length=1, max_length=64)]
# no user and password in it: where a secret belongs there is a file for it
_HTTP_URL = r"^https?://[^/\s@]+(/[^\s@]*)?$"
HttpUrl = Annotated[str, Field(pattern=_HTTP_URL)]


# what is wrong is said without what was given: that may be a secret, or stand beside one
_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, **_STRICT)


def _titles_or_addresses(entries: tuple[str, ...]) -> tuple[str, ...]:
    AllowedPeers.of(entries)
    return entries


def _addresses(entries: tuple[str, ...]) -> tuple[str, ...]:
    AllowedPeers.of((), entries)
    return entries


class NodeSettings(_Section):
    """[node]: the DICOM listener."""

    ae_title: AeTitle
    host: str
    port: Port
    allow: Annotated[tuple[str, ...], AfterValidator(_titles_or_addresses)]
    allow_addresses: Annotated[tuple[str, ...], AfterValidator(_addresses)]
    processes: Annotated[int, Field(ge=0, le=64)]
    max_associations: Annotated[int, Field(ge=1, le=1000)]
    associations_per_address: Annotated[int, Field(ge=1)]
    connections_per_address: Annotated[int, Field(ge=1)]
    timeout_s: Annotated[float, Field(gt=0)]
    request_timeout_s: Annotated[float, Field(gt=0)]
    pdu_timeout_s: Annotated[float, Field(gt=0)]


class HttpSettings(_Section):
    """[http]: the API."""

    host: str
    port: Port
    tokens_file: str
    max_connections: Annotated[int, Field(ge=1)]
    max_connections_per_address: Annotated[int, Field(ge=1)]
    timeout_s: Annotated[float, Field(gt=0)]


class LogSettings(_Section):
    """[log]: how the node's processes log."""

    format: LogFormat


class StorageSettings(_Section):
    """[storage]: what is kept on disk."""

    dir: Path
    minimum_free_bytes: Annotated[int, Field(ge=0)]
    turns_days: Annotated[float, Field(ge=0)]
    encodings_bytes: Annotated[int, Field(ge=0)]


class DatabaseSettings(_Section):
    """[database]: "embedded" or a PostgreSQL URL.

    It holds a password, so it shows itself only when asked.
    """

    url: SecretStr

    @property
    def embedded(self) -> bool:
        """Whether the node brings its own server."""
        return self.url.get_secret_value() == EMBEDDED

    @field_validator("url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        fault = None if text == EMBEDDED else fault_of(text)
        if fault:
            raise ValueError(fault)
        return url


class StudySettings(_Section):
    """[study]: when a study counts as complete."""

    quiet_s: Annotated[float, Field(ge=0)]


class AgentSettings(_Section):
    """[agent]: who plans, who draws, how long."""

    policy: str
    segmenter: str
    checkpoint: str
    second_segmenter: str
    agree_dice: Annotated[float, Field(gt=0, le=1)]
    max_turns: Annotated[int, Field(ge=1, le=100)]
    keep_last: bool
    draw_step_mm: Annotated[float, Field(ge=0, le=10)]
    max_targets: Annotated[int, Field(ge=1)]
    requests_at_once: Annotated[int, Field(ge=1, le=64)]
    threads: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _a_checkpoint_is_somebodys(self) -> AgentSettings:
        if self.checkpoint and self.segmenter == "auto":
            raise ValueError("agent.checkpoint needs agent.segmenter to say whose weights it holds")
        return self

    @model_validator(mode="after")
    def _a_second_segmenter_is_another_one(self) -> AgentSettings:
        if self.second_segmenter and self.second_segmenter in ("auto", self.segmenter):
            raise ValueError(
                "agent.second_segmenter must name another segmenter than agent.segmenter, and not "
                "auto: the same one would agree with itself"
            )
        return self


class StagesSettings(_Section):
    """[stages]: how long each stage of a request may take, and how much memory.

    The fields are those of StageLimits.
    """

    select_s: Annotated[float, Field(gt=0)]
    outline_s: Annotated[float, Field(gt=0)]
    follow_s: Annotated[float, Field(gt=0)]
    segment_s: Annotated[float, Field(gt=0)]
    write_s: Annotated[float, Field(gt=0)]
    grace_s: Annotated[float, Field(gt=0)]
    memory_bytes: Annotated[int, Field(ge=0)]


class ModelsSettings(_Section):
    """[models]: where weights lie and come from, and what models run on."""

    dir: str
    hub: HttpUrl
    token_file: str
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    precision: Precision
    compiled: bool
    memory_bytes: Annotated[int, Field(ge=0)]
    at_once: Annotated[int, Field(ge=1)]


@pydantic_dataclass(frozen=True, config=_STRICT)
class LanguageSection(LanguageOptions):
    """[language]: fields, bounds and defaults are those of the classes that use them."""

    @field_validator("prompts", "api_key_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("endpoints")
    @classmethod
    def _are_urls(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.search(_HTTP_URL, endpoint) for endpoint in endpoints):
            raise ValueError("must be URLs such as http://host:8000/v1, with no user")
        return endpoints


class SessionsSettings(_Section):
    """[sessions]: the segmentation API and its bounds."""

    host: str
    port: Port
    segmenters: tuple[Name, ...]
    max_sessions: Annotated[int, Field(ge=1)]
    idle_s: Annotated[float, Field(gt=0)]
    max_image_pixels: Annotated[int, Field(ge=1)]
    memory_bytes: Annotated[int, Field(ge=0)]
    working_bytes: Annotated[int, Field(ge=1)]


class DeliverySettings(_Section):
    """[delivery]: how hard a destination is tried."""

    attempts: Annotated[int, Field(ge=1)]
    delay_s: Annotated[float, Field(gt=0)]
    maximum_delay_s: Annotated[float, Field(gt=0)]
    timeout_s: Annotated[float, Field(gt=0)]


class DestinationSettings(_Section):
    """[[destinations]]: a PACS that results are sent to."""

    name: Name
    ae_title: AeTitle
    host: str
    port: Port
    kinds: Annotated[tuple[ResultKind, ...], Field(min_length=1)] = DEFAULT_KINDS
    segmentation: SegmentationEncoding = SegmentationEncoding.BINARY


class RouteSettings(_Section):
    """[[routes]]: which studies get which targets, and where results go (by default everywhere);
    whether results in doubt are sent, marked for review, or held back for a person.
    """

    name: Name
    when: dict[str, str] = {}
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    destinations: tuple[str, ...] = ()
    doubtful: Literal["send", "hold"] = "send"


class Settings(_Section):
    """All of it."""

    node: NodeSettings
    http: HttpSettings
    log: LogSettings
    storage: StorageSettings
    database: DatabaseSettings
    study: StudySettings
    agent: AgentSettings
    stages: StagesSettings
    models: ModelsSettings
    language: LanguageSection
    sessions: SessionsSettings
    delivery: DeliverySettings
    destinations: tuple[DestinationSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = ()

    @model_validator(mode="after")
    def _names_are_known_and_unique(self) -> Settings:
        names = [destination.name for destination in self.destinations]
        if len(set(names)) != len(names):
            raise ValueError("two destinations have the same name")
        unknown = [
            f"route '{route.name}' names the unknown destination '{destination}'"
            + did_you_mean(destination, names)
            for route in self.routes
            for destination in route.destinations
            if destination not in names
        ]
        if unknown:
            raise ValueError(". ".join(unknown))
        return self


def config_folder() -> Path:
    """The folder of default.toml and structures: in the wheel, or in the root of a checkout."""
    packaged = Path(str(resources.files("server"))) / "config"
    return packaged if packaged.is_dir() else Path(str(resources.files("server"))).parent / "config"


def load_settings(
    files: Sequence[Path] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the layers into one frozen object; ConfigurationError names what is at fault."""
    merged: dict[str, Any] = {}
    for path in (config_folder() / "default.toml", *files):
        _merge(merged, _read_toml(path))
    _merge(merged, _from_environment(os.environ if environment is None else environment))
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        faults = faults_of(error, Settings, merged)
    raise ConfigurationError(*faults)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # also a number of thousands of figures, or bytes that are no text
        raise ConfigurationError(f"{path} is not TOML: {error}") from error


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    # tables merge key by key; a list (destinations, routes, allow) replaces the one below it
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    faults = []
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).partition("__")
        if separator:
            layer.setdefault(section.lower(), {})[key.lower()] = _parsed(name, text)
        elif name not in _NO_SETTINGS:
            faults.append(variable_fault(name, ENVIRONMENT_PREFIX, tuple(Settings.model_fields)))
    if any(faults):
        raise ConfigurationError(*filter(None, faults))
    return layer


def _parsed(name: str, text: str) -> Any:
    # lists are written as JSON; everything else stays text and is converted by the field's type
    if not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except ValueError:
        pass
    raise ConfigurationError(f'{name}: a list is written as JSON, such as ["ONE", "TWO"]')
