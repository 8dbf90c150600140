"""Faulted maps by their layers and faults: two stacks of layers, folded, cut by straight lines and shifted beyond them.

    v(x, z) = (1 - m) A(x, z - d) + m B(x, z - d - t_0) + f
    m(x, z) = S(s_0) times S(s_i) of all walls i,   d(x, z) = sum of t_i S(s_i) over all faults i
    s_i(x, z) = (x - 35) cos(a_i) + (z - 35) sin(a_i) - r_i,   S(s) = sigmoid(s / w),   x and z in native cells
    A(x, z) = v_0 + sum_k (v_k - v_{k-1}) S(z - c_k(x)),   c_k(x) = the deepest of b_1(x) .. b_k(x)
    b_k(x) = b_{k-1}(x) + h_k + sum_j t_kj cos(pi j x / 70) sqrt(2 / 70),   b_0 = 0

m is the block beyond line 0, within the walls. Its stack of layers B is another one or, shifted by t_0, that of the
rest. Lines 1 and 2 are walls of the block or faults: beyond a fault all is shifted by t_i. f is a fill: rock between a
flat top p and the first interface, on the lower side of line 0, the block's if t_0 >= 0, and to a distance from it,
where one is told; u is half of that side's v_1 - v_0 and something more.

    f(x, z) = u m S(z - p) S(c_1(x) - (z - d - t_0)) S(reach - s_0)           of the block, c_1 that of B
    f(x, z) = u (1 - m) S(z - p) S(c_1(x) - (z - d)) S(reach + s_0)           of the rest, c_1 that of A

What no layers and faults tell, patches may: trapezia of one velocity each, drawn over the rest one after the other. Two
sides of a patch are upright or, of one that is turned, level:

    v(x, z) <- v + M (velocity - v)
    M = S(a) S(length - a) S(b - t a / length) S(t a / length + height - b),   height = h + (h' - h) a / length
    a = x - corner, b = z - corner; of a turned one a = z - corner, b = x - corner

Of a map of two stacks slips may have moved the rock of either, before line 0 brought both together. The last comes
first: its stack is looked up, beyond its line, at a place so far back, across no further than the outermost columns.

    s_j(x, z) > 0:  x <- min(max(x - across_j, 1/2), 69 1/2),  z <- z - down_j

A and B are then those of where that leads, m = S(s_0) that of the place itself; there are no walls, shifts or fill.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .cosines import NATIVE, factors
from .trapezia import AT_ONCE, PATCH, draw_trapezia

LINES = 3
# What one latent unit is: of normalised velocity; cells; radians; cells of a cosine that is of unit norm on 70 columns.
VELOCITY, DEPTH, ANGLE, WAVE = 0.02, 0.15, 0.0075, 1.0
SOFTNESS, WIDTH = 0.05, 0.02  # cells: a unit of w, and the least that w is
# Numbers of a latent, in their order; then the two stacks.
# The fill is none with its top at 0; its velocity is by how much u is past half of v_1 - v_0.
SOFT, TWO, SHIFT, FILL_TOP, FILL_VELOCITY, FILL_REACH = range(6)
ANGLE_0, OFFSET_0 = 6, 7
LINE = 8  # angle, offset, throw and, past 0, whether a wall: of line 1, then of line 2
HEAD = LINE + 4 * (LINES - 1)
# After the stacks, where there are patches: the cells of a unit of theirs in FINEST, then the numbers of each.
FINEST = 1 / 16
# After the patches: the numbers of each slip, the last of which says by its sign whose it is: the block's past 0.
S_ANGLE, S_OFFSET, S_ACROSS, S_DOWN, S_WHOSE = range(5)
SLIP = 5


class FaultedDecoder(nn.Module):
    """Latents (B, N) and points in [-1, 1]^2 to normalised values; differentiable in the latents.

    Args:
        layers: L of a stack, at most.
        waves: K of an interface, the constant among them.
        patches: P, at most.
        slips: S, at most.

    N = HEAD + 2 (L + (L - 1) K) + 1 + 7 P + 5 S, the last three where P or S > 0: of each stack v_0, the steps
    v_i - v_{i-1}, then h_1, h_2, .., then t_1, t_2, ..; then the unit of patches and slips, and of each patch its
    length, its corner x, as it differs from that of the patch before, and z, its heights h and h' at the corner and the
    other end, its tilt t, its velocity; of each slip its angle and offset, how far across and down, and whose it is.
    """

    def __init__(self, layers: int = 8, waves: int = 24, patches: int = 0, slips: int = 0) -> None:
        super().__init__()
        if not (2 <= layers <= 16 and 2 <= waves <= NATIVE and 0 <= patches <= 64 and 0 <= slips <= 8):
            raise ValueError(
                f"{layers} layers of {waves} waves, {patches} patches and {slips} slips cannot be"
            )
        self.layers, self.waves, self.patches, self.slips = layers, waves, patches, slips
        self.stack = layers + (layers - 1) * waves
        self.unit = HEAD + 2 * self.stack  # the place of the unit of patches and slips
        self.slip = self.unit + 1 + PATCH * patches  # of the numbers of slips
        self.latent = self.slip + SLIP * slips if patches or slips else self.unit

    def forward(self, latents: Tensor, points: Tensor) -> Tensor:
        """Values (B, P) at points (P, 2) or (B, P, 2) given as (x, z) in [-1, 1]^2."""
        points = points.expand(len(latents), -1, -1)
        return self._drawn(latents, *(points[..., i].double() * (NATIVE / 2) for i in (0, 1)))

    def grid(self, latents: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """Values (B, H, W) on the regular grid of depths z (H,) and positions x (W,)."""
        across, down = x.double()[None, None] * (NATIVE / 2), z.double()[None, :, None] * (NATIVE / 2)
        return self._drawn(latents, across, down)

    def interfaces(self, latents: Tensor) -> list[Tensor]:
        """The cosines (B, L - 1, K) float64 of every interface of either stack, in cells."""
        out = []
        for stack in range(2):
            own = latents[:, HEAD + stack * self.stack + self.layers :][
                :, : (self.layers - 1) * self.waves
            ].double()
            depths = own[:, : self.layers - 1, None] * (DEPTH * NATIVE**0.5)
            waves = own[:, self.layers - 1 :].view(len(latents), self.layers - 1, self.waves - 1) * WAVE
            out.append(torch.cat([depths, waves], 2).cumsum(1))
        two = (latents[:, TWO] > 0)[:, None, None]
        return [out[0], torch.where(two, out[1], out[0])]

    def _drawn(self, latents: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """Values at positions in cells from the middle: x (1, 1, W) and z (1, H, 1), or both (B, P)."""
        width = (_number(latents, SOFT, z) * SOFTNESS).clamp_min(WIDTH)
        if len(x) > 1 or latents.is_cuda:
            values = self._unpatched(latents, x, z, width)
        else:  # on a processor some maps at a time: what they pass through stays near it
            some = max(1, AT_ONCE // (x.numel() * z.numel()))
            parts = zip(latents.split(some), width.split(some), strict=True)
            values = torch.cat([self._unpatched(part, x, z, own) for part, own in parts])
        return self._patched(latents, values, x + NATIVE / 2, z + NATIVE / 2, width)

    def _unpatched(self, latents: Tensor, x: Tensor, z: Tensor, width: Tensor) -> Tensor:
        """Values before patches."""
        has_slips = self._has_slips(latents)
        rest, slipped = (torch.nonzero(rows)[:, 0] for rows in (~has_slips, has_slips))
        if not len(slipped):
            return self._plain(latents, x, z, width)
        order = torch.cat([rest, slipped]).argsort()
        parts = []
        for draw, rows in ((self._plain, rest), (self._slipped, slipped)):
            across, down = (at[rows] if len(at) > 1 else at for at in (x, z))
            parts.append(draw(latents[rows], across, down, width[rows]))
        return torch.cat(parts)[order]

    def _plain(self, latents: Tensor, x: Tensor, z: Tensor, width: Tensor) -> Tensor:
        """Values of maps without slips, before patches."""

        def number(i: int) -> Tensor:
            return _number(latents, i, z)

        def beyond(cells: Tensor) -> Tensor:
            return torch.sigmoid((cells / width).to(latents.dtype))

        curves = [_curves(own, x) for own in self.interfaces(latents)]
        first = _distance(number(ANGLE_0), number(OFFSET_0), x, z)
        block = beyond(first)
        shift = torch.zeros_like(block, dtype=torch.double)
        for place in range(LINE, HEAD, 4):
            angle, offset, throw, wall = (number(place + i) for i in range(4))
            there = beyond(_distance(angle, offset, x, z))
            block = torch.where(wall > 0, block * there, block)
            shift = shift + torch.where(wall > 0, 0.0, throw * DEPTH) * there
        depth = z + NATIVE / 2
        above, below = depth - shift, depth - shift - number(SHIFT) * DEPTH
        velocities = self._velocities(latents)
        rest = _stack(velocities[0], curves[0], above, beyond)
        inside = _stack(velocities[1], curves[1], below, beyond)
        values = rest + block * (inside - rest)
        if bool((latents[:, FILL_TOP] > 0).any()):
            values = values + self._filled(
                latents, curves, velocities, block, (depth, above, below, first), beyond
            )
        return values

    def _velocities(self, latents: Tensor) -> list[Tensor]:
        """Those (B, L) of each stack, as they are told."""
        stacks = latents[:, HEAD : self.unit].view(len(latents), 2, self.stack)[:, :, : self.layers]
        two = (latents[:, TWO] > 0)[:, None]
        return [stacks[:, 0], torch.where(two, stacks[:, 1], stacks[:, 0])]

    def _has_slips(self, latents: Tensor) -> Tensor:
        """Which maps (B,) have any."""
        whose = latents[:, self.slip + S_WHOSE :: SLIP] if self.slips else latents[:, :0]
        return (whose != 0).any(1) & (latents[:, TWO] > 0)

    def _slipped(self, latents: Tensor, x: Tensor, z: Tensor, width: Tensor) -> Tensor:
        """Values of maps with slips, before patches."""

        def beyond(cells: Tensor) -> Tensor:
            return torch.sigmoid((cells / width).to(latents.dtype))

        block = beyond(_distance(_number(latents, ANGLE_0, z), _number(latents, OFFSET_0, z), x, z))
        stacks = []
        for cosines, velocities, whose in zip(
            self.interfaces(latents), self._velocities(latents), (-1, 1), strict=True
        ):
            steps = torch.nonzero(velocities[:, 1:].any(0))
            used = int(steps.max()) + 1 if len(steps) else 1  # interfaces, up to the last with a step
            curves, depth = self._led_back(latents, cosines[:, :used], whose, x, z)
            stacks.append(_stack(velocities, curves, depth, beyond))
        return stacks[0] + block * (stacks[1] - stacks[0])

    def _led_back(
        self, latents: Tensor, cosines: Tensor, whose: int, x: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A stack's interfaces (B, L - 1, ...) and depths in cells (B, ...) where its slips lead from positions."""
        cells = latents[:, self.unit, None].double() * FINEST
        slips = latents[:, self.slip :].double().view(len(latents), self.slips, SLIP)
        by = slips[:, :, [S_ACROSS, S_DOWN]] * cells[:, None]
        own = slips[:, :, S_WHOSE].sign() == whose
        px, pz = (at.expand(len(latents), *torch.broadcast_shapes(x.shape, z.shape)[1:]) for at in (x, z))
        shape = (-1, *[1] * (z.dim() - 1))
        # Whose a place is, and a bit for each slip that it lies beyond.
        way = (torch.arange(len(latents), device=x.device) << self.slips).view(shape).expand(px.shape)
        for j in range(self.slips):
            rows = torch.nonzero(own[:, j])[:, 0]
            if not len(rows):
                continue
            ax, az = px[rows], pz[rows]
            angle, offset = (_number(slips[rows, j], i, z) for i in (S_ANGLE, S_OFFSET))
            there = _distance(angle, offset, ax, az) > 0
            px = px.index_copy(0, rows, torch.where(there, _across(ax, by[rows, j, 0]), ax))
            pz = pz.index_copy(0, rows, az - there * by[rows, j, 1].view(shape))
            way = way.index_add(0, rows, there.long() << j)
        # Interfaces are drawn once for each way that any place of a map leads, and then looked up.
        led = way.new_zeros(len(latents) << self.slips)
        led[way.flatten()] = 1
        ways, which = torch.nonzero(led)[:, 0], (led.cumsum(0) - 1)[way]
        rows = ways >> self.slips
        at = x[rows] if len(x) > 1 else x.expand(len(rows), *x.shape[1:])
        for j in range(self.slips):
            at = torch.where((ways >> j & 1).view(shape) > 0, _across(at, by[rows, j, 0]), at)
        columns = x.shape[-1]
        told = _curves(cosines[rows], at).reshape(len(rows), -1, columns).transpose(0, 1).flatten(1)
        place = which * columns + torch.arange(columns, device=x.device)
        curves = told.index_select(1, place.flatten()).view(-1, *place.shape)
        return curves.movedim(0, 1), pz + NATIVE / 2

    def _filled(
        self,
        latents: Tensor,
        curves: list[Tensor],
        velocities: list[Tensor],
        block: Tensor,
        places: tuple[Tensor, Tensor, Tensor, Tensor],
        beyond: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """The fill: places are depths, as they are, above and below, and cells beyond line 0."""
        depth, above, below, first = places
        shape = (-1, *[1] * (depth.dim() - 1))

        def number(i: int) -> Tensor:
            return latents[:, i].double().view(shape)

        lower = number(SHIFT) >= 0  # the block is
        under = beyond(torch.where(lower, curves[1][:, 0] - below, curves[0][:, 0] - above))
        over = beyond(depth - number(FILL_TOP) * DEPTH)
        reach = number(FILL_REACH) * DEPTH
        near = torch.where(reach > 0, beyond(reach - torch.where(lower, first, -first)), 1.0)
        step = torch.where(lower.view(-1, 1), velocities[1][:, 1:2], velocities[0][:, 1:2])
        more = (step.view(shape) / 2 + latents[:, FILL_VELOCITY].view(shape)) * VELOCITY
        part = torch.where(lower, block, 1 - block) * over * under * near
        return torch.where(number(FILL_TOP) > 0, more * part, 0.0)

    def _patched(self, latents: Tensor, values: Tensor, x: Tensor, z: Tensor, width: Tensor) -> Tensor:
        """Values with patches drawn over them, at positions in cells from the map's upper left."""
        if not self.patches:
            return values
        numbers = latents[:, self.unit + 1 : self.slip].double().view(len(latents), self.patches, PATCH)
        numbers = numbers * (latents[:, self.unit].double() * FINEST)[:, None, None]
        return draw_trapezia(values.contiguous(), numbers, x, z, width, VELOCITY)


def _number(latents: Tensor, i: int, z: Tensor) -> Tensor:
    """A number (B,) of latents, to go with depths."""
    return latents[:, i].double().view(-1, *[1] * (z.dim() - 1))


def _across(x: Tensor, by: Tensor) -> Tensor:
    """Positions so many cells (B,) further left, no further than the outermost columns."""
    return (x - by.view(-1, *[1] * (x.dim() - 1))).clamp((1 - NATIVE) / 2, (NATIVE - 1) / 2)


def _curves(cosines: Tensor, x: Tensor) -> Tensor:
    """Interfaces (B, L - 1, ...) of cosines (B, L - 1, K) at positions (1 or B, ...) in cells from the middle."""
    return torch.einsum("bik,b...k->bi...", cosines, factors(x / (NATIVE / 2), cosines.shape[2]))


def _distance(angle: Tensor, offset: Tensor, x: Tensor, z: Tensor) -> Tensor:
    """Cells beyond a line."""
    angle = angle * ANGLE
    return x * torch.cos(angle) + z * torch.sin(angle) - offset * DEPTH


def _stack(velocities: Tensor, curves: Tensor, depth: Tensor, beyond: Callable[[Tensor], Tensor]) -> Tensor:
    """Values of layers (B, L) under curves (B, L - 1, ...) at depths in cells."""
    shape = (-1, *[1] * (depth.dim() - 1))
    values = velocities[:, :1].view(shape) * VELOCITY
    deepest = curves[:, 0]
    for i in range(curves.shape[1]):
        deepest = torch.maximum(deepest, curves[:, i])
        if bool(velocities[:, i + 1].any()):
            values = values + velocities[:, i + 1].view(shape) * VELOCITY * beyond(depth - deepest)
    return values
