"""Muon in float32 with equal shapes stacked. `torch.optim.Muon` iterates in bfloat16, which CPUs emulate slowly."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonalised(stack: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices of `stack` [matrices, rows, columns], by Newton-Schulz iteration."""
    wide = stack.shape[1] <= stack.shape[2]
    x: Tensor = stack if wide else stack.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.transpose(1, 2)


class Muon:
    """Momentum whose update is made orthogonal, for 2-D weights, with decoupled weight decay."""

    def __init__(self, parameters: list[nn.Parameter], decay: float, momentum: float = 0.95) -> None:
        self._groups: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in parameters:
            self._groups.setdefault(parameter.shape, []).append(parameter)
        self._decay, self._momentum = decay, momentum
        self._averages = {shape: torch.zeros(len(members), *shape) for shape, members in self._groups.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update at this learning rate; gradients are cleared."""
        for shape, members in self._groups.items():
            gradient = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in members])
            average = self._averages[shape].lerp_(gradient, 1.0 - self._momentum)
            update = orthogonalised(gradient.lerp(average, self._momentum))
            scale = rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, change in zip(members, update, strict=True):
                parameter.mul_(1.0 - rate * self._decay).add_(change, alpha=-scale)
                parameter.grad = None
