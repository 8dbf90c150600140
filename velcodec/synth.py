"""Synthetic velocity models in the manner of the ten OpenFWI families.

The families are those of Deng et al., "OpenFWI: Large-scale multi-structural benchmark datasets for full
waveform inversion", NeurIPS 2022. Every map is a function of continuous position, evaluated at cell
centres, so a map is exact at any resolution. Positions and lengths are in native cells (the map is 70 native
cells wide and deep, whatever the grid), velocities in m/s. Nothing here is OpenFWI data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError

Array: TypeAlias = NDArray[np.float64]
Rng: TypeAlias = np.random.Generator
Section: TypeAlias = Callable[[Array, Array], Array]  # (x (W,), z (H,)) in native cells -> (H, W) m/s

NATIVE = 70.0
V_MIN, V_MAX = 1500, 4500
THIN = 7  # cells: the least thickness of a layer of the B families' stacks
EDGE_SIGMA = 0.31  # cells; half a cell from an edge the samples read 0.0535 and 0.9465 of the step
EDGE_REACH = 1.25  # cells; past this an edge is exactly 0 or 1, so that plateaus stay integers

FAMILIES: tuple[str, ...] = (
    "FlatVel_A", "FlatVel_B", "CurveVel_A", "CurveVel_B", "FlatFault_A",
    "FlatFault_B", "CurveFault_A", "CurveFault_B", "Style_A", "Style_B",
)  # fmt: skip


def canonical(family: str) -> str:
    """OpenFWI's spelling of a family name, whatever the case and with '-' for '_'."""
    wanted = family.strip().lower().replace("-", "_")
    for name in FAMILIES:
        if name.lower() == wanted:
            return name
    raise UsageError(f"unknown family {family!r}; the families are {', '.join(FAMILIES)}")


def generate(
    family: str, count: int, shape: tuple[int, int] | int = 70, seed: int = 0, first: int = 0
) -> NDArray[np.float32]:
    """Maps first .. first + count - 1 of a family: (count, H, W) float32, m/s.

    Map i depends on (family, seed, i) only, and its geology does not depend on the grid. Grids that share
    sample points agree there: exactly, but for Style maps, where the order of summation moves the last bit of
    a float32.
    """
    name = canonical(family)
    height, width = (shape, shape) if isinstance(shape, int) else shape
    if count < 0 or height < 1 or width < 1 or seed < 0 or first < 0:
        raise UsageError("count, seed and first must be 0 or more and the shape at least 1 x 1")
    x, z = _centres(width), _centres(height)
    out = np.empty((count, height, width), dtype=np.float32)
    for i in range(count):
        rng = np.random.default_rng([seed, FAMILIES.index(name), first + i])
        out[i] = _DRAW[name](rng)(x, z)
    return out


def _centres(n: int) -> Array:
    """Cell centres (2j + 1) / n - 1 of a grid of n cells, (n,), in native cells from the left or top edge."""
    return NATIVE / 2 * ((2 * np.arange(n) + 1) / n)


# Layers


def _distinct(rng: Rng, count: int, low: int = V_MIN, high: int = V_MAX) -> Array:
    """Distinct uniform integer velocities, sorted: measured on FlatVel_A and CurveVel_A shards."""
    return np.sort(low + rng.choice(high - low + 1, count, replace=False)).astype(float)


def _layer_velocities(rng: Rng, count: int, rising: bool) -> Array:
    """Layer velocities from the top, (count,). Version A rises with depth, version B is unsorted."""
    v = _distinct(rng, count)
    return v if rising else rng.permutation(v)


def _interface_depths(rng: Rng) -> Array:
    """Depths of k flat interfaces, (k,), whole cells, the last perhaps below the bottom.

    Measured on FlatVel_A shards: the thickness is 70 / k for k in 3..7 alike, the first layer 0.5 to 1.5 of
    it, the others within a cell of it. The velocities fit k + 1 layers of which the bottom may hide the last.
    Hence 3 and 8 layers half as often as 4 to 7, and CurveVel maps, whose folds bring up the last layer, with
    hardly ever 3.
    """
    k = int(rng.integers(3, 8))
    first = round(rng.uniform(0.5, 1.5) * NATIVE / k)
    thickness = np.floor(NATIVE / k + rng.random() + rng.integers(-1, 2, k - 1) * 0.9)
    depths: Array = first + np.concatenate([[0.0], np.cumsum(thickness)])
    return depths


def _sines(rng: Rng, low: Array, high: Array, mean: Array) -> Callable[[Array], Array]:
    """A sum of sines with random frequency (cycles over the width), phase and gamma-distributed amplitude."""
    k = rng.uniform(low, high)
    phase = rng.uniform(0, 2 * np.pi, k.size)
    amplitude = rng.gamma(3.0, mean / 3.0)

    def displacement(x: Array) -> Array:
        total = np.zeros_like(x)
        for a, f, p in zip(amplitude, k, phase, strict=True):
            total += a * np.sin(2 * np.pi * f * x / NATIVE + p)
        return total

    return displacement


def _folded(rng: Rng, depths: Array, scale: float = 1.0) -> Callable[[Array], Array]:
    """Curved interfaces: x (W,) -> depths (n, W), cells.

    Sines are composed from the top down, each interface adding a small one to the fold of the one above,
    after public reverse-engineering in the 2025 Kaggle waveform-inversion competition's forum. That names
    whole numbers of cycles; these are not whole, because in CurveVel_A shards harmonics 3 and 4 go together
    (correlation 0.96). Amplitudes are set by the same shards: means 3.2, 3.3, 4.4, 2.1, 0.7 cells over
    interfaces that cross the map.
    """
    fold = _sines(rng, _FOLD_LOW, _FOLD_HIGH, scale * _FOLD_MEAN)
    extra = [_sines(rng, np.array([1.0]), np.array([4.0]), np.array([1.0])) for _ in depths]

    def interfaces(x: Array) -> Array:
        drift = np.cumsum([e(x) for e in extra], axis=0)
        lines: Array = depths[:, None] + fold(x) + drift
        return lines

    return interfaces


_FOLD_LOW = np.array([0.6, 1.6, 2.6, 3.1])
_FOLD_HIGH = np.array([1.5, 2.5, 3.2, 3.9])
_FOLD_MEAN = np.array([3.0, 3.0, 4.0, 3.2])


def _hard_layers(z: Array, interfaces: Array, velocities: Array) -> Array:
    """Piecewise constant velocities with hard edges: z (H,), interfaces (n, 1 or W) -> (H, 1 or W)."""
    index = np.zeros((z.size, interfaces.shape[1]), dtype=np.int64)
    for depth in interfaces:
        index += z[:, None] > depth
    return velocities[index]


def _edge(distance: Array) -> Array:
    """Share of the far side at a signed distance (cells) from a smoothed edge.

    A Gaussian CDF by the tanh form: measured on FlatFault_A shards, 0, 0.0535, 0.9465, 1 across an edge.
    """
    t = distance / EDGE_SIGMA
    share = 0.5 + 0.5 * np.tanh(0.7978845608 * (t + 0.044715 * t * t * t))
    return np.where(distance > EDGE_REACH, 1.0, np.where(distance < -EDGE_REACH, 0.0, share))


def _smooth_layers(z: Array, interfaces: Array, velocities: Array) -> Array:
    """As _hard_layers, with smoothed edges."""
    total = np.full((z.size, interfaces.shape[1]), velocities[0])
    for depth, step in zip(interfaces, np.diff(velocities), strict=True):
        total += step * _edge(z[:, None] - depth)
    return total


def _flat_vel(rng: Rng, rising: bool) -> Section:
    depths = _interface_depths(rng)
    velocities = _layer_velocities(rng, depths.size + 1, rising)
    return lambda x, z: _hard_layers(z, depths[:, None], velocities).repeat(x.size, axis=1)


def _curve_vel(rng: Rng, rising: bool) -> Section:
    depths = _interface_depths(rng)
    velocities = _layer_velocities(rng, depths.size + 1, rising)
    interfaces = _folded(rng, depths)
    return lambda x, z: _hard_layers(z, interfaces(x), velocities)


# Faults


def _fault_block(rng: Rng) -> tuple[Callable[[Array, Array], Array], Callable[[Array, Array], Array]]:
    """A displaced block: share (H, W) in 0..1, and signed distance (H, W) below the fault line, cells.

    Seen in FlatFault_A shards: the moved block lies under one straight fault of any dip, within two steep
    sides.
    """
    dip = np.deg2rad(rng.uniform(22, 80)) * rng.choice([-1, 1])
    x0, z0 = rng.uniform(12, 58), rng.uniform(18, 45)
    left, right = rng.uniform(-22, 18), rng.uniform(54, 92)
    lean = rng.uniform(-0.06, 0.06, 2)

    def below(x: Array, z: Array) -> Array:
        distance: Array = (x - x0)[None] * np.sin(dip) + (z - z0)[:, None] * np.cos(dip)
        return distance

    def share(x: Array, z: Array) -> Array:
        deep = (z - NATIVE / 2)[:, None]
        sides = _edge(x[None] - left - lean[0] * deep) * _edge(right + lean[1] * deep - x[None])
        moved: Array = _edge(below(x, z)) * sides
        return moved

    return share, below


def _gouge(distance: Array, along: Array, period: float) -> Array:
    """Share of foreign rock on a fault line, (H, W), at most 0.07, dotted along it as seen in the shards."""
    dots = 0.55 + 0.45 * np.cos(2 * np.pi * along / period)
    return np.where(np.abs(distance) < 1.7, 0.07 * dots * np.exp(-0.5 * (distance / 0.6) ** 2), 0.0)


def _fault_a(rng: Rng, curved: bool) -> Section:
    """One fault, smoothed edges. Flat: four integer plateaus; curved: two to four, folds of long wavelength.

    Measured on FlatFault_A shards: two velocities in 1500..3000 and two in 3000..4500, whole-cell depths of
    15..19 for the first interface and 15..20 more for the next, throws of 5.5 to 10 cells; in three of ten maps the
    hole that the throw leaves over the second layer is filled, ten cells or so from the fault, with rock of the mean
    velocity of the two layers. So are the flat-topped fills over lowered blocks in pictures of CurveFault_A.
    """
    count = int(rng.choice([2, 3, 4], p=[0.6, 0.15, 0.25])) if curved else 4
    slow, fast = _distinct(rng, 2, 1500, 3000), _distinct(rng, 2, 3001, 4500)
    velocities = np.concatenate([slow, fast])[[[0, 3], [0, 1, 3], [0, 1, 2, 3]][count - 2]]
    gaps = rng.integers([15, 15, 15], [20, 21, 21])
    depths = np.minimum(np.cumsum(gaps), [19, 38, 55]).astype(float)[[[1], [0, 1], [0, 1, 2]][count - 2]]
    fold = _sines(rng, np.array([0.8, 1.4]), np.array([1.4, 2.2]), np.array([6.0, 2.0]) * curved)
    centre = rng.uniform(-8, 10) * curved
    throw = rng.uniform(5.5, 10.2) * (1 if rng.random() < 0.6 else -1)
    share, below = _fault_block(rng)
    period, filled = rng.uniform(2, 7), rng.random() < (0.6 if curved else 0.35)
    filled = bool(filled and (not curved or (count == 2 and throw > 0)))
    top = rng.uniform(-6, 6) if curved else min(throw, 0.0)  # of the fill, cells below the unfolded interface
    reach = np.inf if curved else rng.uniform(9, 12)
    filling = (velocities[1] - velocities[0]) / 2

    def section(x: Array, z: Array) -> Array:
        host = depths[:, None] + centre + fold(x)[None]
        here, moved = _smooth_layers(z, host, velocities), _smooth_layers(z, host + throw, velocities)
        lower, lowered = (moved, host + throw) if throw > 0 else (here, host)
        if filled:
            lower += filling * (
                _edge(z - depths[0] - centre - top)[:, None]
                * _edge(lowered[:1] - z[:, None])
                * _edge(reach - np.abs(below(x, z)))
            )
        total = here + share(x, z) * (moved - here)
        foreign = np.where(total > velocities.mean(), velocities[0], velocities[-1])
        total += _gouge(below(x, z), x[None] + z[:, None], period) * (foreign - total)
        return total

    return section


def _stack_depths(rng: Rng, layers: int = 6) -> Array:
    """Depths of the interfaces of a stack of the B families, (layers - 1,), whole cells.

    Seen in pictures of FlatFault_B: layers are 7 cells thick, and what is left of the depth goes to few of them.
    """
    left, more = NATIVE - THIN * layers, np.zeros(layers)
    for i in rng.permutation(layers):
        more[i] = np.floor(rng.uniform(0, left + 1))
        left -= more[i]
    depths: Array = np.cumsum(THIN + more)[:-1]
    return depths


def _slip(rng: Rng) -> Array:
    """A fault of the B families: sine and cosine of its dip, a place on it, and cells across and down, (6,).

    What pictures show of them: most descend to the right, and rock beyond is moved by as much across as down, of some
    by little.
    """
    dip = np.deg2rad(rng.uniform(38, 88)) * (1 if rng.random() < 0.9 else -1)
    moved = rng.integers([-22, -18], [23, 19]).astype(float) * (1 if rng.random() < 0.8 else 0.3)
    return np.array([-np.sin(dip), np.cos(dip), rng.uniform(5, 65), rng.uniform(5, 65), *np.round(moved)])


def _blocks_b(rng: Rng, curved: bool) -> Section:
    """Two stacks of six parallel layers, hard edges, each moved along faults, and brought together at a straight line.

    Measured on CurveFault_B maps: integers, 12 distinct values. The rest is what ten pictured maps of FlatFault_B and
    CurveFault_B show: all of a stack beyond a fault moves, across too, and a fault cuts those before it; what comes in
    at a side of the map is like its border; the line between the stacks is whole. Most lines descend to the right.
    """
    stacks = rng.permuted(_distinct(rng, 12).reshape(6, 2), axis=1).T
    lines, slips = [], []
    for _ in range(2):
        depths = _stack_depths(rng)
        fold = _sines(rng, _FOLD_LOW, _FOLD_HIGH, 1.4 * _FOLD_MEAN * curved)
        lines.append((depths + round(rng.uniform(-6, 2)) * curved, fold))
        slips.append([_slip(rng) for _ in range(rng.integers(1, 4))])
    lean = rng.uniform(0.15, 0.4) * (1 if rng.random() < 0.85 else -1)
    middle = rng.uniform(22, 48)

    def section(x: Array, z: Array) -> Array:
        maps = []
        for (depths, fold), moves, velocities in zip(lines, slips, stacks, strict=True):
            px, pz = np.broadcast_arrays(x[None], z[:, None])
            for across, down, x0, z0, right, lower in moves:
                beyond = (px - x0) * across + (pz - z0) * down > 0
                px = np.where(beyond, np.clip(px - right, 0.5, NATIVE - 0.5), px)
                pz = np.where(beyond, pz - lower, pz)
            places, back = np.unique(px, return_inverse=True)
            unfolded = pz - fold(places)[back.reshape(pz.shape)]
            index = np.searchsorted(depths, unfolded.ravel()).reshape(pz.shape)
            maps.append(velocities[index])
        total: Array = np.where(x[None] - middle > lean * (z[:, None] - NATIVE / 2), maps[0], maps[1])
        return total

    return section


def _fault_b(rng: Rng, curved: bool) -> Section:
    """_blocks_b, drawn again (a few times at most) until all 12 layers come to light at native resolution."""
    probe = _centres(35)  # every second native cell will do
    for _ in range(4):
        section = _blocks_b(rng, curved)
        if np.unique(section(probe, probe)).size == 12:
            break
    return section


# Style


def _texture(rng: Rng, draw: Array) -> Section:
    """A continuous random field of unit variance: cosines of wave vectors draw (n, 2), radians per cell."""
    phase = rng.uniform(0, 2 * np.pi, len(draw))
    gain = np.sqrt(2.0 / len(draw))

    def field(x: Array, z: Array) -> Array:
        across, down = draw[:, :1] * x + phase[:, None], z[:, None] * draw[:, 1]
        waves = np.concatenate([np.cos(across), -np.sin(across)])
        total: Array = gain * (np.concatenate([np.cos(down), np.sin(down)], axis=1) @ waves)
        return total

    return field


def _background(rng: Rng) -> Callable[[Array], Array]:
    """A background that rises with depth, z (H,) -> m/s: most of the range of a Style map."""
    top, rise, bend = rng.uniform(1550, 2300), rng.uniform(1250, 1750), rng.uniform(0.75, 1.1)

    def base(z: Array) -> Array:
        line: Array = top + rise * (z / NATIVE) ** bend
        return line

    return base


def _clipped(v: Array) -> Array:
    return np.minimum(np.maximum(v, float(V_MIN)), float(V_MAX))


def _painting(rng: Rng) -> Section:
    """Overlapping rounded objects on uneven ground, some with bright outlines or stripes, and fine texture, m/s.

    The content of both Style families. The objects are capsules painted in turn; the fine texture keeps
    wavelengths of 2.2 to 4.5 cells, near the native Nyquist limit.
    """
    n = int(rng.integers(24, 42))
    x0, z0 = rng.uniform(-3, 73, n), 78 * rng.random(n) ** 0.9 - 1  # a little denser with depth
    angle = np.where(rng.random(n) < 0.35, rng.normal(0, 0.25, n), rng.uniform(0, np.pi, n))
    half, radius, soft = rng.gamma(1.5, 2.2, n), rng.uniform(2.0, 5.2, n), rng.uniform(0.3, 0.6, n)
    tint, shade, rim = rng.normal(170, 100, n), rng.normal(0, 75, n), rng.gamma(3.0, 38.0, n)
    period, stripe = rng.uniform(2.4, 5, n), rng.uniform(40, 130, n) * (rng.random(n) < 0.2)
    ground = _texture(rng, rng.normal(0, 1 / 6.0, (24, 2)))
    k, turn = 2 * np.pi / rng.uniform(2.2, 4.5, 80), rng.uniform(0, 2 * np.pi, 80)
    fine = _texture(rng, np.stack([k * np.cos(turn), k * np.sin(turn)], axis=1))

    def section(x: Array, z: Array) -> Array:
        paint = 55.0 * ground(x, z)
        grain = np.full(paint.shape, 0.12)  # objects are rougher than the ground
        for i in range(n):
            reach = half[i] + radius[i] + 4  # beyond it the object has no effect: skip those cells
            cols = slice(*np.searchsorted(x, [x0[i] - reach, x0[i] + reach]))
            rows = slice(*np.searchsorted(z, [z0[i] - reach, z0[i] + reach]))
            dx, dz = (x[cols] - x0[i])[None], (z[rows] - z0[i])[:, None]
            along = dx * np.cos(angle[i]) + dz * np.sin(angle[i])
            off = dz * np.cos(angle[i]) - dx * np.sin(angle[i])
            gap = np.hypot(along - np.clip(along, -half[i], half[i]), off) - radius[i]
            inside = 0.5 - 0.5 * np.tanh(gap / soft[i])
            lit = off / radius[i]  # one flank lighter than the other, its rim too
            body = tint[i] + shade[i] * lit + stripe[i] * np.sin(2 * np.pi * along / period[i])
            bright = np.clip(0.5 + 0.5 * np.sign(shade[i]) * lit, 0, 1.2)
            line = rim[i] * bright * np.exp(-((gap / 0.85) ** 2))
            window, cover = paint[rows, cols], grain[rows, cols]
            window += inside * (body - 0.85 * window) + line
            cover += inside * (1 - cover)
        return paint + 26.0 * grain * fine(x, z)

    return section


def _style_a(rng: Rng) -> Section:
    """A painting out of focus, on the background.

    Once the mean of each row is taken off, neighbours correlate by 0.98 and the lowest 256 of the 4900 cosine
    coefficients hold all but 50 dB of a map, as in the five Style_A maps that could be looked at. The map is a cubic
    spline through a blurred painting sampled once a cell, so that it is one function at every resolution.
    """
    from scipy.interpolate import RectBivariateSpline  # a third of a second to import
    from scipy.ndimage import gaussian_filter

    base = _background(rng)
    cells = np.arange(-12.0, NATIVE + 13)
    blurred = gaussian_filter(_painting(rng)(cells, cells), rng.uniform(2.4, 3.6), mode="nearest")
    blurred -= 0.4 * blurred.mean(axis=1, keepdims=True)
    spline = RectBivariateSpline(cells, cells, blurred * (rng.uniform(180, 290) / blurred.std()))
    return lambda x, z: _clipped(base(z)[:, None] + spline(z, x))


def _style_b(rng: Rng) -> Section:
    """A painting on the background.

    Once the mean of each row is taken off, neighbours correlate by 0.86, and power falls with the third power
    of the wave number, as in the seven Style_B maps that could be looked at.
    """
    base, painting = _background(rng), _painting(rng)
    return lambda x, z: _clipped(base(z)[:, None] + 1.5 * painting(x, z))


_DRAW: dict[str, Callable[[Rng], Section]] = {
    "FlatVel_A": lambda rng: _flat_vel(rng, True),
    "FlatVel_B": lambda rng: _flat_vel(rng, False),
    "CurveVel_A": lambda rng: _curve_vel(rng, True),
    "CurveVel_B": lambda rng: _curve_vel(rng, False),
    "FlatFault_A": lambda rng: _fault_a(rng, False),
    "FlatFault_B": lambda rng: _fault_b(rng, False),
    "CurveFault_A": lambda rng: _fault_a(rng, True),
    "CurveFault_B": lambda rng: _fault_b(rng, True),
    "Style_A": _style_a,
    "Style_B": _style_b,
}
