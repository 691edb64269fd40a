"""The DICOM edge: from arriving instances to a volume, and from masks to results that are sent.

A study passes `receive`, `series`, `volume`, `results` and `send` in this order; a newcomer opens
`values.py` first. Nothing here knows an agent or a database.
"""

import logging
import warnings

# pydicom warns of every odd value and quotes it, by its logger and by `warnings`; it may be a
# patient's. Both ways are shut here, before it is loaded: it sets its logger's level itself, and a
# filter of `warnings` within a block holds for all threads.
logging.getLogger("pydicom").addFilter(lambda _: False)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
