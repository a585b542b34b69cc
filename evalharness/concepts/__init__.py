"""Concept vectors: extracting, checking, storing. Nothing imported here needs torch."""

from evalharness.concepts.bank import ConceptBank as ConceptBank
from evalharness.concepts.calibration import BankCalibration as BankCalibration
from evalharness.concepts.contrast import extract_pairs as extract_pairs
from evalharness.concepts.extract import extract as extract
from evalharness.concepts.guard import Trial as Trial
from evalharness.concepts.held_out import check_bank as check_bank
from evalharness.concepts.manifest import CheckResult as CheckResult
from evalharness.concepts.spec import CheckSpec as CheckSpec
from evalharness.concepts.spec import ExtractionSpec as ExtractionSpec
from evalharness.concepts.sweep import CalibrationSpec as CalibrationSpec
from evalharness.concepts.sweep import Corpora as Corpora
from evalharness.concepts.sweep import calibrate as calibrate
