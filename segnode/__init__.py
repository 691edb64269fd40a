"""Segnode in Python, for notebooks and scripts: the only public face; the rooms behind it may
change.

`segment` takes what `segnode segment` takes, or a volume in memory, and gives masks as arrays;
`segmenting.py` is read first.

    import segnode

    result = segnode.segment("ct/", ["liver", "left kidney"])
    liver = result["liver"]
    print(liver.status, liver.volume_ml, liver.code)
"""

from __future__ import annotations

from agent.geometry import Geometry
from agent.ports import Policy, Segmenter
from agent.trace import Trace
from agent.turns import Turn
from agent.values import TargetStatus, Volume
from dicom_node.values import Code
from segnode.opening import SegnodeErrors, load_trace, open_policy, open_segmenter
from segnode.segmenting import Result, SegmentedTarget, segment

__all__ = [
    "Code",
    "Geometry",
    "Policy",
    "Result",
    "SegmentedTarget",
    "Segmenter",
    "SegnodeErrors",
    "TargetStatus",
    "Trace",
    "Turn",
    "Volume",
    "load_trace",
    "open_policy",
    "open_segmenter",
    "segment",
]
