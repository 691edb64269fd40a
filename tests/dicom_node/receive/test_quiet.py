"""pydicom's own warnings, with values and paths in them, reach neither the terminal nor the log,
from any thread.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import phantoms

SCRIPT = """
import logging, sys, threading
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s %(message)s")
from dicom_node.series.header import read_header
from dicom_node.volume.volume import load_volume
from pydicom import dcmread
paths = [Path(name) for name in sys.argv[1:]]
def read():
    load_volume([read_header(path) for path in paths])
    for path in paths:  # as somebody does who forgets about it
        ds = dcmread(path)
        ds.SeriesNumber, ds.PatientID, ds.StudyInstanceUID, str(ds)
threads = [threading.Thread(target=read) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("through")
"""


def test_no_value_of_a_file_is_repeated(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, shape=(3, 16, 16), spacing_mm=(5.0, 24.0, 24.0))
    for path in phantom.paths:
        phantoms.patch(path, "SeriesNumber", b"7" * 21)
        phantoms.patch(path, "PatientID", b"M\xfcller-" + b"9" * 80)
        phantoms.patch(path, "AcquisitionNumber", b"1.5")

    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, phantom.paths)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert "through" in ran.stdout
    assert ran.stderr == ""
    assert "pydicom" not in ran.stdout
    assert "7777" not in ran.stdout
    assert "9999" not in ran.stdout
