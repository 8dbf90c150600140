"""Codebook training: maps of several families -> decoder, amortised encoder and rate model.

    batch of maps -> loss (objectives.py) -> step of the optimisers -> checkpoint and report, now and then

Everything that a run depends on stands in its Recipe; a checkpoint holds all it needs to go on.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .device import keep_freed_memory
from .errors import UsageError
from .grid import centres
from .objectives import AutoDecoder, Joint, Networks
from .parallel import Team
from .replacing import replacing
from .training_data import Pool, Recipe

CLIP = 1.0

Report = Callable[[dict[str, Any]], None]


def train(
    recipe: Recipe,
    pool: Pool,
    held_out: Mapping[str, Tensor],
    checkpoint: Path,
    team: Team | None = None,
    report: Report = lambda row: None,
    every: int = 1000,
    tick: Callable[[], None] = lambda: None,
) -> Networks:
    """Train by the recipe, resuming from the checkpoint if it is there; it is rewritten every `every` steps.

    Args:
        held_out: normalised maps (n, 70, 70) by family, measured at every report and never trained on.
        team: the processes that train together and their devices; this one alone, on the CPU, unless said.
        report: called with {"step", "loss", family: (PSNR dB, bytes)} beside every checkpoint.
        tick: called after each step.

    Batches are drawn alike whatever the number of processes, and a checkpoint may be resumed by another number.
    """
    if (
        recipe.decoder != "siren"
        and recipe.steps
        and not any(recipe.weights.get(f, 0) > 0 for f, _ in pool.sources)
    ):
        raise UsageError(
            "no family with maps here has a weight above 0, so the network has nothing to learn from: smooth families "
            "are told by cosines; add maps of others, or weights, or take 0 steps from a codebook"
        )
    team = team or Team()
    team.check(recipe.batch)
    keep_freed_memory()
    torch.manual_seed(recipe.seed)
    objective: Joint | AutoDecoder
    if recipe.decoder == "siren":
        objective = AutoDecoder(recipe, pool)
    else:
        objective = Joint(recipe, pool, fresh=not checkpoint.exists())
    objective.to(team.device)
    optimisers = objective.optimisers()
    step, generator = _resume(checkpoint, objective.nets, optimisers, recipe)
    together = team.wrapped(objective)
    axis = torch.from_numpy(centres(70)).float().to(team.device)
    where = torch.device(team.device)
    while step < recipe.steps:
        _set_rates(optimisers, _schedule(recipe, step))
        batch, rows, columns = objective.draw(generator)
        share = [team.share(part) for part in batch]
        rows, columns = rows.to(where), columns.to(where)
        loss = together(share, rows, columns, axis, step)
        _update(loss, optimisers, objective.nets)
        step += 1
        tick()
        if team.leads and (step % every == 0 or step == recipe.steps):
            _save(checkpoint, objective.nets, optimisers, step, generator, recipe)
            report({"step": step, "loss": loss.item(), **objective.measure(held_out, team.device)})
    return objective.nets


def _schedule(recipe: Recipe, step: int) -> float:
    """Linear warm-up, constant, then a cosine down to 2 % over the last `decay` of the steps."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    left = min(1.0, (recipe.steps - step) / max(1.0, recipe.decay * recipe.steps))
    return rise * (0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * left)))


def _set_rates(optimisers: list[torch.optim.Optimizer], factor: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * factor


def _update(loss: Tensor, optimisers: list[torch.optim.Optimizer], nets: Networks) -> None:
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(list(nets.parameters()), CLIP)
    for optimiser in optimisers:
        optimiser.step()


def _save(
    path: Path,
    nets: Networks,
    optimisers: list[torch.optim.Optimizer],
    step: int,
    generator: torch.Generator,
    recipe: Recipe,
) -> None:
    """Write a checkpoint beside its target and rename it, so that an interrupted write leaves the last one."""
    state = {
        "step": step,
        "recipe": json.dumps(asdict(recipe)),
        "generator": generator.get_state(),
        "parts": {name: part.state_dict() for name, part in nets.parts().items()},
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        torch.save(state, draft)


def _resume(
    path: Path, nets: Networks, optimisers: list[torch.optim.Optimizer], recipe: Recipe
) -> tuple[int, torch.Generator]:
    """The step to go on from and the generator, after loading the checkpoint where there is one."""
    generator = torch.Generator().manual_seed(recipe.seed)
    if not path.exists():
        return 0, generator
    state = torch.load(path, map_location="cpu", weights_only=True)
    saved = json.loads(state["recipe"])
    if (saved["decoder"], saved["options"]) != (recipe.decoder, recipe.options):
        raise UsageError(f"{path} is of another decoder ({saved['decoder']}); name another checkpoint")
    for name, part in nets.parts().items():
        part.load_state_dict(state["parts"][name])
    for optimiser, saved_state in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved_state)
    generator.set_state(state["generator"])
    return int(state["step"]), generator
