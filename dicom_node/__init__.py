"""The DICOM edge: listener, inbox, series, volume, segmentation, report, sender. Knows no agent and no database."""
