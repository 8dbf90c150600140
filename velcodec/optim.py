"""Muon: momentum whose update is orthogonalised, for the weight matrices of the codebook's networks.

Keller Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. torch.optim.Muon (torch 2.9)
takes matrices only and velcodec supports torch 2.4; here a convolution is the matrix (out, in x height x width).
On the joint training of the default codebook it reached in 3 minutes what Adam did not reach in 10.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay for parameters of two or more dimensions."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.1
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update from the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"].mul_(group["momentum"]).add_(p.grad)
                update = orthogonalise((p.grad + group["momentum"] * m).flatten(1))
                gain = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"] * gain)
        return None


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly, by Newton-Schulz iteration; shape and dtype kept.

    The iteration x <- p(x x') x needs only the small Gram matrix y = x x', which it maps to p y p; the product of
    the polynomials is applied to x once, at the end.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    y = x @ x.T
    identity = torch.eye(len(y), dtype=y.dtype, device=y.device)
    product = identity
    for _ in range(steps):
        p = a * identity + b * y + c * y @ y
        product = p @ product
        y = p @ y @ p
    x = product @ x
    return x.T if tall else x
