"""What the functions of this package raise: each room's tree of errors, in one tuple."""

from __future__ import annotations

from agent.errors import AgentError
from dicom_node.errors import DicomNodeError
from models.errors import ModelsError
from server.errors import ServerError

SegnodeErrors = (ServerError, DicomNodeError, AgentError, ModelsError)
"""For `except segnode.SegnodeErrors as error`; `str(error)` is a sentence that says what to do."""
