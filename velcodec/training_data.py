"""What a training run depends on: its recipe, and the maps that it draws from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import synth
from .errors import DataError, UsageError

CENTRE, SCALE = 3000.0, 1500.0  # m/s: the normalisation of OpenFWI's range to [-1, 1]


@dataclass(frozen=True)
class Recipe:
    """What a training run depends on. Rates are per bit, learning rates are peaks, weights share out a batch."""

    decoder: str = "warp"
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 40_000
    batch: int = 64
    side: int = 28  # rows and columns drawn a step: 28 x 28 of the 4900 samples
    rate: float = 5e-4
    learning_rate: float = 1.5e-3
    muon_rate: float = 0.008
    warmup: int = 200
    decay: float = 1.0  # share of the steps over which the learning rate falls to 2 %
    penalty: float = 1e-4  # lambda |z|^2 of the auto-decoder
    synthetic: int = 4000  # maps of each family from synth.py
    start: str = (
        ""  # codebook (id, hash or path) whose networks training goes on from; of one decoder with it
    )
    seed: int = 0
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "FlatVel_A": 0.05,
            "FlatVel_B": 0.03,
            "CurveVel_A": 0.20,
            "CurveVel_B": 0.08,
            "FlatFault_A": 0.22,
            "FlatFault_B": 0.10,
            "CurveFault_A": 0.22,
            "CurveFault_B": 0.10,
            "Style_A": 0.0,  # cosines' work: for their tables alone
            "Style_B": 0.0,
        }  # fmt: skip
    )

    def __post_init__(self) -> None:
        if not self.steps and not self.start:
            raise UsageError("0 steps leave networks untrained; name a codebook to start from")


@dataclass(frozen=True)
class Pool:
    """Normalised native maps (n, 70, 70) by source: (family, maps). Real and synthetic maps are two sources."""

    sources: tuple[tuple[str, Tensor], ...]

    def draw(self, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch: maps (B, 70, 70), mirrored at random, and the index of each map's family (B,)."""
        share = {name: sum(family == name for family, _ in self.sources) for name in recipe.weights}
        p = torch.tensor(
            [recipe.weights.get(family, 0.0) / max(1, share.get(family, 1)) for family, _ in self.sources]
        )
        picks = torch.multinomial(p, recipe.batch, replacement=True, generator=generator).tolist()
        rows = torch.rand(recipe.batch, generator=generator).tolist()
        flips = torch.rand(recipe.batch, generator=generator).tolist()
        maps = []
        for pick, row, flip in zip(picks, rows, flips, strict=True):
            source = self.sources[pick][1]
            v = source[int(row * len(source))]
            maps.append(v.flip(-1) if flip < 0.5 else v)
        return torch.stack(maps), torch.tensor([synth.FAMILIES.index(self.sources[i][0]) for i in picks])


def normalise(maps: NDArray[Any]) -> Tensor:
    """Maps in m/s, (n, 70, 70) or (n, 1, 70, 70), to float32 about [-1, 1]."""
    v = np.asarray(maps, dtype=np.float32)
    v = v.reshape(-1, *v.shape[-2:])
    if v.shape[1:] != (70, 70) or not np.isfinite(v).all():
        raise DataError(f"training maps must be finite and 70 x 70, not of shape {v.shape}")
    return torch.from_numpy((v - CENTRE) / SCALE)


def build_pool(recipe: Recipe, real: Mapping[str, NDArray[Any]], progress: Callable[[str], None]) -> Pool:
    """Real maps by family, and `recipe.synthetic` maps of every family that the recipe names, be it with weight 0."""
    sources = [(synth.canonical(family), normalise(maps)) for family, maps in real.items()]
    for family, weight in recipe.weights.items():
        if weight >= 0 and recipe.synthetic > 0:
            progress(f"making {recipe.synthetic} maps of {family}")
            made = synth.generate(family, recipe.synthetic, 70, seed=recipe.seed + 1)
            sources.append((synth.canonical(family), normalise(made)))
    if not sources:
        raise UsageError("nothing to train on: give --data or --synthetic")
    return Pool(tuple(sources))
