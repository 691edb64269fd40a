"""The names of SAM 2.1's weights: upstream's (package sam2, the published checkpoints) as
transformers calls them.

The table is applied from top to bottom, each row to what the rows above have made of a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_THREE_LAYERS = (
    r"output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|object_pointer_proj"
)

_NAMES: tuple[tuple[str, str], ...] = (
    # image encoder
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    # prompt encoder
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    # mask decoder
    (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    # memory
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.gamma$", ".scale"),
    (r"\.mask_downsampler\.encoder\.12\.", ".mask_downsampler.final_conv."),
    *(
        (rf"\.mask_downsampler\.encoder\.{3 * k + part}\.", f".mask_downsampler.layers.{k}.{name}.")
        for k in range(4)
        for part, name in enumerate(("conv", "layer_norm"))
    ),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    # perceptrons of three layers, then of two
    (rf"({_THREE_LAYERS})\.layers\.0\.", r"\1.proj_in."),
    (rf"({_THREE_LAYERS})\.layers\.1\.", r"\1.layers.0."),
    (rf"({_THREE_LAYERS})\.layers\.2\.", r"\1.proj_out."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    # everywhere
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm(\d?)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
)

_POINTS = tuple(f"sam_prompt_encoder.point_embeddings.{label}.weight" for label in range(4))


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Upstream's state dict under transformers' names; a name that the table does not know is kept
    as it is.

    Two tensors are not merely renamed: the four point embeddings (1, 256) become one (4, 256), and
    the matrix of the random frequencies is there twice. KeyError when one of the five is missing.
    """
    converted = {converted_name(key): value for key, value in state.items() if key not in _POINTS}
    converted["prompt_encoder.point_embed.weight"] = torch.cat([state[key] for key in _POINTS])
    converted["prompt_encoder.shared_embedding.positional_embedding"] = converted[
        "shared_image_embedding.positional_embedding"
    ]
    return converted


def converted_name(name: str) -> str:
    """One of upstream's names as transformers calls it."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name
