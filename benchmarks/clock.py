"""A clock around a method of something else, from the outside: the code that is timed does not know of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Clock:
    """Adds up the seconds that one method takes. Calls may come from another thread, but only one at a time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def on(self, owner: Any, method: str) -> Iterator[None]:
        """Time `owner.method` while the block is open; `owner` is a class or an object."""
        original = getattr(owner, method)

        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **options)
            finally:
                self.seconds += time.perf_counter() - start

        setattr(owner, method, timed)
        try:
            yield
        finally:
            setattr(owner, method, original)
