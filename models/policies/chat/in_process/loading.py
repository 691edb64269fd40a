"""A multimodal language model from a folder: its class told by its own configuration, never by its
path.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from models.errors import UnusableModel
from models.runtime.devices import chosen_device, chosen_dtype
from models.runtime.resources import LanguageOptions, Quantisation, Resources

# of the memory that is free once the model is there, one part in so many is for what it has read
_SHARE_OF_FREE = 4
_GIVEN = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in evaluation mode with the processor that came with it.

    `keep_bytes` of its device's memory may hold what it has read, between the turns of episodes.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    name: str
    keep_bytes: int

    @property
    def device(self) -> torch.device:
        """Where the tokens go in."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def context_tokens(self) -> int | None:
        """The longest conversation it was made for, in tokens; None when its configuration does not
        say.
        """
        longest = getattr(
            self.model.config.get_text_config(decoder=True), "max_position_embeddings", None
        )
        return int(longest) if longest else None


def load_chat_model(resources: Resources) -> Loaded:
    """The model in the folder `resources.language.model`, or of that name in the hub's cache on
    this machine.

    Nothing is downloaded, weights are safetensors only, and no code that came with them is run.
    UnusableModel says what is missing, or what the model is if it is not one that is shown images
    and answers in text.
    """
    options = resources.language
    place = Path(options.model).expanduser()
    source = str(place) if options.model and place.is_dir() else options.model
    config = _config(source)
    processor = _processor(source)
    device = chosen_device(resources.device)
    model = _model(source, config, device, resources)
    model.eval()
    if not options.device_map and options.quantisation is Quantisation.NONE:
        model.to(device)
    return Loaded(model, processor, Path(options.model).name, _keep_bytes(resources, device))


def _config(source: str) -> PreTrainedConfig:
    if not source:
        raise UnusableModel("the language model", "no model is named: set the folder it lies in")
    try:
        config = AutoConfig.from_pretrained(source, **_GIVEN)
    except (OSError, ValueError, KeyError) as error:
        raise UnusableModel(
            source,
            "there is no such folder with a model's config.json, nor is it in the hub's cache on "
            "this machine, or its kind is not known to this version of transformers "
            f"({_short(error)})",
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        architectures = ", ".join(config.architectures or ()) or "no architecture is named"
        raise UnusableModel(
            source,
            f"it is a '{config.model_type}' ({architectures}), "
            "not a model that is shown images and answers in text",
        )
    return config


def _processor(source: str) -> ProcessorMixin:
    try:
        processor = AutoProcessor.from_pretrained(source, **_GIVEN)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UnusableModel(
            source, f"its processor cannot be loaded; copy all of its files ({_short(error)})"
        ) from error
    if not isinstance(processor, ProcessorMixin) or not hasattr(processor, "image_processor"):
        raise UnusableModel(
            source,
            "it has no processor for images: "
            "preprocessor_config.json and tokenizer files must lie beside it",
        )
    if not processor.chat_template:
        raise UnusableModel(
            source, "it has no chat template: chat_template.jinja must lie beside its config.json"
        )
    return processor


def _model(
    source: str, config: PreTrainedConfig, device: torch.device, resources: Resources
) -> PreTrainedModel:
    options = resources.language
    extra: dict[str, Any] = {}
    if options.device_map:
        _need("accelerate", source, "to spread a model over several GPUs")
        extra["device_map"] = options.device_map
    if options.quantisation is not Quantisation.NONE:
        extra |= _quantised(source, options, device, chosen_dtype(resources.precision, device))
    dtype = chosen_dtype(resources.precision, device)
    try:
        loading: tuple[PreTrainedModel, dict[str, Any]] = (
            AutoModelForImageTextToText.from_pretrained(
                source,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                **_GIVEN,
                **extra,
            )
        )
    except (OSError, SafetensorError) as error:
        raise UnusableModel(
            source, f"its weights (*.safetensors) are missing or damaged ({_short(error)})"
        ) from error
    except RuntimeError as error:
        if "mismatch" not in str(error):
            raise
        raise UnusableModel(
            source, f"its weights are not those of a {config.model_type}: their sizes differ"
        ) from error
    model, told = loading
    # transformers fills with random numbers what a file does not hold, and says so in the log alone
    if told["missing_keys"]:
        raise UnusableModel(
            source,
            f"its weights are not those of a {config.model_type}: {len(told['missing_keys'])} "
            f"tensors are missing, {min(told['missing_keys'])} first",
        )
    return model


def _quantised(
    source: str, options: LanguageOptions, device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    if device.type != "cuda":
        raise UnusableModel(
            source, f"{options.quantisation} needs an NVIDIA GPU; leave quantisation empty on a CPU"
        )
    _need("accelerate", source, f"for {options.quantisation}")
    _need("bitsandbytes", source, f"for {options.quantisation}")
    packed = (
        BitsAndBytesConfig(load_in_8bit=True)
        if options.quantisation is Quantisation.INT8
        else BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    )
    return {"quantization_config": packed, "device_map": options.device_map or {"": device}}


def _need(package: str, source: str, purpose: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UnusableModel(source, f"{package} is needed {purpose}: pip install 'segnode[gpu]'")


def _keep_bytes(resources: Resources, device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = psutil.virtual_memory().available
    return min(free, resources.memory_bytes or free) // _SHARE_OF_FREE


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else "no reason is given")[:200]
