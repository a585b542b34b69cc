"""A battery's folder: `check.json`, `check.md` and its figures."""

from __future__ import annotations

from pathlib import Path

from evalharness.concepts.battery_figures import write_figures
from evalharness.concepts.battery_record import Battery
from evalharness.concepts.battery_tables import markdown
from evalharness.concepts.manifest import BatteryVerdict
from evalharness.errors import StorageError
from evalharness.ids import sha256_file

RECORD, TABLES = "check.json", "check.md"


def write_battery(battery: Battery, folder: Path) -> BatteryVerdict:
    """Write the folder and return what a bank's manifest says about it.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(battery.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")
        figures = write_figures(battery, folder)
        (folder / TABLES).write_text(markdown(battery, figures), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The check could not be written to {folder}: {error}") from error
    return BatteryVerdict(
        passed=battery.passed,
        reasons=battery.reasons,
        required=battery.required,
        not_run={str(part): reason for part, reason in battery.not_run.items()},
        check_sha256=sha256_file(folder / RECORD),
    )
