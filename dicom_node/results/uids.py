"""UIDs of results: derived, so that a re-run or a resend makes no duplicate."""

from __future__ import annotations

import uuid

from dicom_node.values import Algorithm, ResultIdentity

# The root of every UID derived here. Changing it would make every re-run a duplicate.
_NAMESPACE = uuid.UUID("5f2a1d0e-6f0b-5c55-9e0c-6d1f2c3b8a47")


def device_uid(algorithm: Algorithm) -> str:
    """The Device UID (0018,1002) of what drew: another one for other weights, settings or prompts,
    the same for the same on every machine (IHE AIR: it changes with the model).
    """
    digests = [f"{of} {digest}" for of, digest in algorithm.parameters]
    name = "\0".join(("device", algorithm.name, algorithm.version, *digests))
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def result_uid(identity: ResultIdentity, kind: str, label: str = "") -> str:
    """The UID of a `kind` ("SEG instance", "tracking", …) and `label` of a request and version.

    A name-based UUID (RFC 9562 version 5) as a decimal number under 2.25 (PS3.5 B.2): at most 44
    characters, the same on every machine. The parts are joined by a character that none of them can
    hold, so ("a", "bc") is not ("ab", "c").
    """
    name = "\0".join((identity.request_id, str(identity.study_version), kind, label))
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"
