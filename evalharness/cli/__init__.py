"""The command line: parse, call the library, print. No logic lives here.

Exit codes: 0 PASS (or done), 1 FAIL, 2 usage, 3 INCONCLUSIVE, 4 INVALID, 70 internal error.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from evalharness.cli import content_verbs, exchange_verbs, organism_verbs, run_verbs, score_verbs, vector_verbs
from evalharness.cli.app import app
from evalharness.errors import EvalHarnessError, UsageError

__all__ = [
    "app",
    "content_verbs",
    "exchange_verbs",
    "main",
    "organism_verbs",
    "run_verbs",
    "score_verbs",
    "vector_verbs",
]

EXIT_USAGE, EXIT_INTERNAL, EXIT_INTERRUPTED = 2, 70, 130


def main() -> None:
    """Run the command line and turn every error into one message and one exit code."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        result = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        errors.print(f"error: {error.format_message()}\n  fix: see evalharness --help")
        return EXIT_USAGE
    except UsageError as error:
        errors.print(f"error: {error}")
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted: finished samples are kept; the same command continues")
        return EXIT_INTERRUPTED
    except EvalHarnessError as error:
        errors.print(f"error: {error}")
        return EXIT_INTERNAL
    except Exception:  # noqa: BLE001 - an uncaught exception would exit with 1, which means FAIL
        errors.print_exception()
        return EXIT_INTERNAL
    return result if isinstance(result, int) else 0
