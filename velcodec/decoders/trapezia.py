"""Patches of a faulted latent: trapezia of one velocity each, drawn over a map one after the other.

On a grid each is drawn within a window of it alone; most are small.
"""

import math

import torch
from torch import Tensor

# The numbers of a patch; of a turned one the length is below 0.
LENGTH, ACROSS, DOWN, HEIGHT, OTHER_HEIGHT, TILT, VALUE = range(7)
PATCH = 7
PAST = 20.0  # widths from an edge beyond which it is not drawn: its sigmoid is 2e-9 there
AT_ONCE = 160_000  # points drawn at a time, on a processor


def draw_trapezia(
    values: Tensor, numbers: Tensor, x: Tensor, z: Tensor, width: Tensor, velocity: float
) -> Tensor:
    """Values with patches drawn over them, in place; differentiable.

    Args:
        values: (B, H, W) at x (1, 1, W) and z (1, H, 1), or (B, P) at both (B, P), in cells from the upper left.
        numbers: (B, n, 7) of patches, in cells; those of length 0 are none. ACROSS differs from that of the one before.
        width: of edges, in cells, (B, 1, 1) or (B, 1).
        velocity: what a cell of VALUE is.
    """
    across, down = numbers[:, :, ACROSS].cumsum(1), numbers[:, :, DOWN]
    turned = numbers[:, :, LENGTH] < 0
    first, top = torch.where(turned, down, across), torch.where(turned, across, down)
    used, flat = numbers[:, :, LENGTH] != 0, values.view(-1)
    shape = (-1, *[1] * (values.dim() - 1))
    grid = _Grid(x, z, numbers, (first, top), width) if values.dim() == 3 else None
    for i in torch.nonzero(used.any(0))[:, 0].tolist():
        rows = torch.nonzero(used[:, i])[:, 0]
        size = grid.size(rows, i) if grid else [1, values.shape[1]]
        for own in rows.split(len(rows) if values.is_cuda else max(1, AT_ONCE // math.prod(size))):
            if grid:
                place, at = grid.window(own, i, size)
            else:
                place, at = torch.arange(values.shape[1], device=x.device)[None], (x[own], z[own])
            place = place + own.view(shape) * values[0].numel()
            on_side = turned[own, i].view(shape)
            along = torch.where(on_side, *at[::-1]) - first[own, i].view(shape)
            beside = torch.where(on_side, *at) - top[own, i].view(shape)
            inside = _trapezium(numbers[own, i], along, beside, width[own], values.dtype)
            before = flat[place]
            to = (numbers[own, i, VALUE] * velocity).to(values.dtype).view(shape)
            flat.index_copy_(0, place.flatten(), (before + inside * (to - before)).flatten())
    return values


class _Grid:
    """The axes of a grid, and of each patch (B, n) the window of it where it draws anything."""

    def __init__(
        self, x: Tensor, z: Tensor, numbers: Tensor, corner: tuple[Tensor, Tensor], width: Tensor
    ) -> None:
        length, _, _, height, other, tilt, _ = numbers.unbind(2)
        (first, top), away = corner, PAST * width.view(-1, 1)
        part = away / length.abs()
        parts = torch.stack([-part, 1 + part])  # what is past the ends draws a little too
        upper = top + tilt * parts
        ends = torch.cat([upper, upper + height + (other - height) * parts])
        along = torch.stack([first - away, first + length.abs() + away])
        beside = torch.stack([ends.amin(0) - away, ends.amax(0) + away])
        self.axes, turned = (x.flatten(), z.flatten()), length < 0
        self.spans = (
            _span(self.axes[0], *torch.where(turned, beside, along)),
            _span(self.axes[1], *torch.where(turned, along, beside)),
        )

    def size(self, rows: Tensor, i: int) -> list[int]:
        """Columns and rows of the largest window of patch i of some maps (n,)."""
        return [int(count[rows, i].max()) for _, count in self.spans]

    def window(self, rows: Tensor, i: int, size: list[int]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Places (n, h, w) in the grid of windows of a size, row by row, and their x (n, 1, w) and z (n, h, 1)."""
        across, down = (
            start[rows, i].clamp_max(len(axis) - most)[:, None] + torch.arange(most, device=axis.device)
            for (start, _), most, axis in zip(self.spans, size, self.axes, strict=True)
        )
        place = down[:, :, None] * len(self.axes[0]) + across[:, None]
        return place, (self.axes[0][across][:, None], self.axes[1][down][:, :, None])


def _span(axis: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The first of the positions (W,) between some (B, n), and how many from there on to the last."""
    within = (axis >= low[:, :, None]) & (axis <= high[:, :, None])
    start, back = within.byte().argmax(2), within.flip(2).byte().argmax(2)
    return start, torch.where(within.any(2), len(axis) - back - start, 1)


def _trapezium(numbers: Tensor, along: Tensor, beside: Tensor, width: Tensor, dtype: torch.dtype) -> Tensor:
    """How much of positions (n, ...), told from their corners, along their straight sides, is of patches (n, 7)."""

    def cells(number: Tensor) -> Tensor:
        return number.view(-1, *[1] * (along.dim() - 1))

    def within(distance: Tensor) -> Tensor:
        return torch.sigmoid((distance / width).to(dtype))

    length, _, _, height, other, tilt, _ = map(cells, numbers.unbind(1))
    part, length = along / length.abs(), length.abs()
    upper = tilt * part
    lower = upper + height + (other - height) * part
    return within(along) * within(length - along) * (within(beside - upper) * within(lower - beside))
