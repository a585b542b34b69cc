"""The hooks that are on the model during a session, and which conditions and traces they know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

from evalharness.engine.steering import RowSteering
from evalharness.engine.tracing import Probe, collect_probes
from evalharness.engine.vectors import VectorBank
from evalharness.request import Request, Sampling, Steering

MakeSteering = Callable[[Sequence[Request], VectorBank | None, Sequence[Probe]], RowSteering]
"""Hooks that know the conditions of these requests, in their order, and these traces."""


class Attached:
    """A context manager: hooks are on the model inside it. Conditions get numbers, which stay as they are."""

    def __init__(self, make_steering: MakeSteering, bank: VectorBank | None) -> None:
        self._make = make_steering
        self._bank = bank
        self._conditions: dict[tuple[Steering, ...], int] = {(): 0}
        self._known = 0
        self._wanted: list[Probe] = []
        self.probes: list[Probe] = []
        """What the hooks trace."""
        self.steering: RowSteering = make_steering([], bank, [])

    def __enter__(self) -> Attached:
        self.steering.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.steering.__exit__(kind, error, trace)

    def condition(self, steerings: tuple[Steering, ...]) -> int:
        """The number of a condition; the hooks know it after `renew`."""
        return self._conditions.setdefault(steerings, len(self._conditions))

    def want(self, requests: Sequence[Request]) -> None:
        """What these requests trace is to be traced too."""
        self._wanted = collect_probes(self._wanted, requests, self._bank)

    @property
    def traces_wait(self) -> bool:
        """Whether something is to be traced that the hooks do not trace yet."""
        return self._wanted != self.probes

    def renew(self, *, traces: bool) -> bool:
        """Exchange the hooks if they lack a condition or, if `traces` may change now, a trace; whether they changed."""
        probes = self._wanted if traces else self.probes
        if self._known == len(self._conditions) and probes == self.probes:
            return False
        one = Sampling(max_new_tokens=1)
        examples = [Request(prompt="", steering=steerings, sampling=one) for steerings in self._conditions]
        self.steering.__exit__(None, None, None)
        self.steering = self._make(examples, self._bank, probes)
        self.steering.__enter__()
        self._known, self.probes = len(examples), probes
        return True
