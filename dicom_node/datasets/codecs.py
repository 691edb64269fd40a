"""Which codec decodes which transfer syntax, whatever else is installed beside ours.

pydicom takes the first plugin that it can import; one of those it would prefer ends the process on
damaged bytes. docs/decisions/11-pixel-codecs.md says how these were chosen.
"""

from __future__ import annotations

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from dicom_node.datasets import jpeg

_TURBO, _CHARLS, _OPENJPEG_OR_RLE = "libjpeg-turbo", "pyjpegls", "pylibjpeg"

_PLUGINS: dict[str, str] = {
    **dict.fromkeys(jpeg.DECODER_DEPENDENCIES, _TURBO),
    **dict.fromkeys(JPEGLSTransferSyntaxes, _CHARLS),
    **dict.fromkeys([*JPEG2000TransferSyntaxes, RLELossless], _OPENJPEG_OR_RLE),
}

for _syntax in jpeg.DECODER_DEPENDENCIES:
    get_decoder(_syntax).add_plugin(_TURBO, (jpeg.__name__, jpeg.decode_frame.__name__))


def plugin_of(transfer_syntax_uid: str) -> str:
    """The name of the decoder plugin for pydicom's `decoding_plugin`; "" for native pixels."""
    return _PLUGINS.get(transfer_syntax_uid, "")


def is_decodable(transfer_syntax_uid: str) -> bool:
    """Whether pixel data of this transfer syntax is decoded here."""
    try:
        decoder = get_decoder(UID(transfer_syntax_uid))
    # how pydicom says that it has no decoder for this transfer syntax, public or private
    except NotImplementedError:
        return False
    plugin = plugin_of(transfer_syntax_uid)
    return plugin in decoder.available_plugins if plugin else decoder.is_available
