"""What is known of a segmenter or a policy before it is loaded: one entry each.

The entries that come with Segnode are in models.shipped. Another distribution registers its own
under the entry points `segnode.segmenters` and `segnode.policies` (models.plugins). Names in
configuration, `segnode models list`, `segnode check`, the choice of "auto" and the opening of a
model all read the entry and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.knowledge import Knowledge
from agent.ports import Policy, Segmenter
from agent.values import PromptKind
from models.runtime.resources import Resources
from models.weights.weights import Weights

NEVER = 0
"""The rank of a segmenter that "auto" does not take."""


@dataclass(frozen=True)
class Needs:
    """The memory, bytes, that a segmenter takes at its peak beside its weights.

    `encode_bytes` for an image that is encoded, `ask_bytes` for a prompt, `object_bytes` for a
    whole object that is followed or drawn, of which it follows `objects_at_once` together.
    ValueError for none: work that claims nothing is admitted beside everything, and dies of it.
    """

    encode_bytes: int
    ask_bytes: int
    object_bytes: int = 0
    objects_at_once: int = 16

    def __post_init__(self) -> None:
        if min(self.encode_bytes, self.ask_bytes) <= 0:
            raise ValueError("a segmenter needs memory to encode an image and to answer a prompt")


@dataclass(frozen=True)
class SegmenterEntry:
    """A segmenter that can be asked for. ValueError for an entry that contradicts itself.

    `build` makes it of the site's resources and the file of its weights; `prompts` are all kinds it
    may take, and `needs` the memory. `weights` are those it loads unless the site names others
    (None: it has none), and `packaged` says that it loads only the file that its package carries.
    `follows` objects from slice to slice by itself (agent.ports.VolumeSegmenter); `draws_volumes`
    from prompts on any slice (agent.ports.VolumePrompter). `keeps` whether its encodings may be
    read again by another process with the same weights. Of those whose weights are here "auto"
    takes the one of the highest `auto_rank`.
    """

    build: Callable[[Resources, Path], Segmenter]
    prompts: frozenset[PromptKind]
    needs: Needs
    weights: Weights | None = None
    follows: bool = False
    draws_volumes: bool = False
    keeps: bool = False
    packaged: bool = False
    auto_rank: int = NEVER

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError("a segmenter takes at least one kind of prompt")
        if (self.follows or self.draws_volumes) and self.needs.object_bytes <= 0:
            raise ValueError("a segmenter of whole objects needs memory for each")
        if self.follows and self.draws_volumes:
            raise ValueError("a segmenter follows objects or draws volumes, not both")
        if PromptKind.SCRIBBLE in self.prompts and not self.draws_volumes:
            raise ValueError("scribbles are prompts of a segmenter that draws volumes")
        if self.keeps and self.weights is None:
            raise ValueError("encodings are kept under the hash of weights, and there are none")


@dataclass(frozen=True)
class PolicyEntry:
    """A policy that can be asked for.

    `weights` are those it loads (None: none of its own), `language` says that it loads the site's
    language model. `usable` is what "auto" asks: why the settings mean this policy, in words, or ""
    where they do not. `require` raises LanguageMisconfigured where a setting is missing that it
    cannot work without. `abdomen_only`: it knows slices only as the abdomen's window shows them;
    for any other policy each structure is shown in its own window. `sparing`: it is asked about key
    slices and the whole, and not about each slice that a structure is carried to. `knowledge` as
    its class says, None where that is known only once it is loaded.

    A policy that reads the encodings of the segmenter `reads` is built by `apart`, with an encoder
    of its own, where another segmenter draws.
    """

    build: Callable[[Resources], Policy]
    weights: Weights | None = None
    language: bool = False
    usable: Callable[[Resources], str] = lambda _: ""
    require: Callable[[Resources], None] = lambda _: None
    abdomen_only: bool = False
    sparing: bool = False
    knowledge: Knowledge | None = None
    reads: str = ""
    apart: Callable[[Resources], Policy] | None = None

    def __post_init__(self) -> None:
        if bool(self.reads) != (self.apart is not None):
            raise ValueError(
                "a policy names both the segmenter that it reads and how to do without"
            )
