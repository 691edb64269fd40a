"""The DICOM edge: listener, inbox, series, volume, segmentation, report, sender. Knows no agent and
no database.
"""

import logging
import warnings

# pydicom warns of every odd value, with the value, which may be a patient's, and with a path of its
# own. Both ways are shut here, before it is loaded: it sets the level of its log itself, and
# filters within a block belong to no thread.
logging.getLogger("pydicom").addFilter(lambda _: False)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
