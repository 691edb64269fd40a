"""Training data that takes DICOM or the catalogue: `dicom_cases.py` is read first."""
