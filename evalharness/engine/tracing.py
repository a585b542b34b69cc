"""Concept traces: which projections (K of them) a session reads, and what a row's completion says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.vectors import VectorBank
from evalharness.request import ConceptTrace, Request


class Probe(NamedTuple):
    """One projection. In the order of probes, layers rise; so do the columns of what is traced."""

    layer: int
    concept: str


def probes_of(request: Request, bank: VectorBank | None) -> list[Probe]:
    """What a request traces, in its own order."""
    if request.trace is None:
        return []
    assert bank is not None
    layers = bank.steer_layers if request.trace.layers is None else request.trace.layers
    return [Probe(layer, concept) for concept in request.trace.concepts for layer in sorted(set(layers))]


def collect_probes(known: Iterable[Probe], requests: Sequence[Request], bank: VectorBank | None) -> list[Probe]:
    """All that are known or asked for, each once."""
    return sorted({*known, *(probe for request in requests for probe in probes_of(request, bank))})


def probe_vectors(probes: Sequence[Probe], bank: VectorBank | None, device: torch.device) -> dict[int, Tensor]:
    """Per layer the vectors `[K, D]`, divided by its mean norm, so that projections have the unit of strength."""
    layers: dict[int, list[Tensor]] = {}
    for layer, concept in probes:
        assert bank is not None
        unit = torch.from_numpy(bank.vector(concept, layer).copy())
        layers.setdefault(layer, []).append(unit / bank.mean_norm(layer))
    return {layer: torch.stack(vectors).to(device) for layer, vectors in layers.items()}


def summarize(
    request: Request, bank: VectorBank | None, probes: Sequence[Probe], trace_TK: Tensor | None, prompt_tokens: int
) -> tuple[ConceptTrace, ...] | None:
    """The request's traces of a row, whose prompt comes first; None if it asked for none."""
    if request.trace is None:
        return None
    assert trace_TK is not None
    values_TK = trace_TK.cpu().double()
    traces = []
    for probe in probes_of(request, bank):
        column_T = values_TK[:, probes.index(probe)]
        drawn = column_T[prompt_tokens:]
        some = len(drawn) > 0
        traces.append(
            ConceptTrace(
                concept=probe.concept,
                layer=probe.layer,
                prompt_mean=float(column_T[:prompt_tokens].mean()),
                generation_mean=float(drawn.mean()) if some else None,
                generation_min=float(drawn.min()) if some else None,
                generation_max=float(drawn.max()) if some else None,
                generation_last=float(drawn[-1]) if some else None,
                series=tuple(column_T.tolist()) if request.trace.series else (),
            )
        )
    return tuple(traces)
