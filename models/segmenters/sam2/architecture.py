"""The sizes of SAM 2.1 as data, and transformers' configuration for each.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024; the numbers are those of the
package sam2 1.1.0, configs/sam2.1/*.yaml. MedSAM2 is the tiny size at 512 pixels a side in place of
1024.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import Sam2VideoConfig

STRIDE_PX = 16  # the model's pixels for one of its coarsest map


@dataclass(frozen=True)
class Hiera:
    """The image encoder's trunk (Ryali et al., "Hiera", 2023).

    `width` channels of the first stage (each further stage has twice as many), `heads` of its
    attention (twice as many each time), `blocks` a stage, `global_blocks` the blocks whose
    attention sees the whole image, `windows` the side of the others' windows a stage, `background`
    the side of the position map under the windows.
    """

    width: int
    heads: int
    blocks: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: int = 7

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of each stage, the first one first."""
        return (self.width, 2 * self.width, 4 * self.width, 8 * self.width)


@dataclass(frozen=True)
class Architecture:
    """A SAM 2.1 network. `name` as models.weights.checkpoints describes its weights, `side_px` of
    the square it works on, `memory_layers` of the attention to earlier slices.
    """

    name: str
    trunk: Hiera
    side_px: int = 1024
    memory_layers: int = 4

    @property
    def grid(self) -> int:
        """Rows (and columns) of the coarsest feature map: `side_px` / 16."""
        return self.side_px // STRIDE_PX

    @property
    def low_res_px(self) -> int:
        """Rows (and columns) of the low-resolution logits and of a mask prompt: `side_px` / 4."""
        return 4 * self.grid

    def config(self) -> Sam2VideoConfig:
        """The configuration that transformers builds this network from."""
        trunk, side, grid = self.trunk, self.side_px, self.grid
        backbone = {
            "hidden_size": trunk.width,
            "num_attention_heads": trunk.heads,
            "image_size": [side, side],
            "blocks_per_stage": list(trunk.blocks),
            "embed_dim_per_stage": list(trunk.channels),
            "num_attention_heads_per_stage": [trunk.heads * 2**stage for stage in range(4)],
            "window_size_per_stage": list(trunk.windows),
            "window_positional_embedding_background_size": [trunk.background] * 2,
            "global_attention_blocks": list(trunk.global_blocks),
        }
        vision = {
            "backbone_config": backbone | {"model_type": "sam2_hiera_det_model"},
            "backbone_channel_list": list(reversed(trunk.channels)),
            "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
            "model_type": "sam2_vision_model",
        }
        return Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config={"image_size": side},
            image_size=side,
            memory_attention_rope_feat_sizes=[grid, grid],
            memory_attention_num_layers=self.memory_layers,
        )


TINY = Architecture("SAM 2.1 tiny", Hiera(96, 1, (1, 2, 7, 2), (5, 7, 9)))
SMALL = Architecture("SAM 2.1 small", Hiera(96, 1, (1, 2, 11, 2), (7, 10, 13)))
BASE_PLUS = Architecture(
    "SAM 2.1 base-plus", Hiera(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14)
)
LARGE = Architecture(
    "SAM 2.1 large", Hiera(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8))
)
MEDSAM2 = replace(TINY, side_px=512)
