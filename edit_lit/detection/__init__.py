"""Looking for edits in a model without a list of them."""

from edit_lit.detection.detection import Detection, Finding, LoadedDetection
from edit_lit.detection.spectra import Spectrum

__all__ = ["Detection", "Finding", "LoadedDetection", "Spectrum"]
