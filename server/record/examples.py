"""What the description of the API shows as examples of a request."""

from __future__ import annotations

from typing import Any

EXAMPLE_STUDY = "1.2.826.0.1.3680043.8.498.1"
EXAMPLE_SERIES = f"{EXAMPLE_STUDY}.2"
EXAMPLE_ID = "0b9c4d9e-6a55-4a4e-9a0b-4e4a7c1c3f2d"
SUBMITTED_EXAMPLE: dict[str, Any] = {"id": EXAMPLE_ID, "state": "QUEUED"}
REQUEST_EXAMPLE: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "state": "DONE",
    "study_instance_uid": EXAMPLE_STUDY,
    "study_version": 1,
    "series_instance_uid": EXAMPLE_SERIES,
    "route": "abdomen",
    "actor": "segnode",
    "priority": 50,
    "policy": "locator",
    "segmenter": "litemedsam",
    "run": 1,
    "targets": [
        {
            "text": "liver",
            "structure": "liver",
            "code": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"},
            "laterality": None,
            "status": "segmented",
            "reason": "",
            "volume_ml": 412.7,
            "turns": 21,
            "confidence": 0.93,
            "warnings": [],
            "for_review": False,
        }
    ],
    "results": [
        {
            "kind": "SEG",
            "sop_instance_uid": f"{EXAMPLE_STUDY}.3",
            "series_instance_uid": f"{EXAMPLE_STUDY}.4",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
        }
    ],
    "deliveries": [
        {
            "destination": "pacs",
            "state": "delivered",
            "attempts": 1,
            "last_error": None,
            "next_try_at": None,
            "delivered_at": "2026-05-01T12:03:00Z",
            "kinds": ["SEG", "SR"],
        }
    ],
    "error": None,
    "failed_stage": None,
    "warnings": [],
    "stage_seconds": {"select": 1.2, "segment": 38.5, "write": 0.9},
    "encoder_passes": 20,
    "stage": None,
    "progress": None,
    "series_choice": (
        "Chosen: series 4 (CT, 120 images), original, axial, 120 slices. "
        "Beside it: no other usable series."
    ),
    "supersedes": None,
    "repeats": None,
    "created_at": "2026-05-01T12:00:00Z",
    "updated_at": "2026-05-01T12:03:00Z",
    "ended_at": "2026-05-01T12:03:00Z",
}
