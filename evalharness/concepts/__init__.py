"""Concept vectors: extracting, checking, storing. Nothing imported here needs torch."""

from evalharness.concepts.bank import ConceptBank as ConceptBank
from evalharness.concepts.contrast import extract_pairs as extract_pairs
from evalharness.concepts.extract import extract as extract
from evalharness.concepts.held_out import check_bank as check_bank
from evalharness.concepts.manifest import CheckResult as CheckResult
from evalharness.concepts.spec import CheckSpec as CheckSpec
from evalharness.concepts.spec import ExtractionSpec as ExtractionSpec
