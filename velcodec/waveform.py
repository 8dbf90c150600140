"""Seismic waves through velocity maps: what the errors of a restored map do to the data recorded over it.

The acquisition is OpenFWI's (Deng et al., NeurIPS 2022): 5 sources and 70 receivers in the second row of cells, both
spread from the first column to the last and rounded to cells; a Ricker wavelet of 15 Hz that peaks after 1.1
periods; 1000 samples of 1 ms; constant density; all four edges absorbing, the surface too. The figures are those of
dataset_config.json in github.com/lanl/OpenFWI and of its issue 12, which states that there is no free surface.
Pressure has the sign of OpenFWI's records and about their size. Edges absorb by PML, not by its sponge of 120 cells.

deepwave solves the wave equation, of order 2 in time and 8 in space. It is an extra, velcodec[waveform], and is loaded
where it is used, like torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DataError, UsageError

SOURCES, RECEIVERS = 5, 70
DEPTH = 1  # cells: of sources and receivers
FREQUENCY = 15.0  # Hz: the peak of the wavelet's spectrum
DELAY = 0.073  # s: until the wavelet's peak
STEPS = 1000  # samples of a record
STEP = 0.001  # s between samples
ORDER = 8  # of accuracy in space
PML_WIDTH = 20  # cells: what twice as many absorb more is 0.03 % of a record
HIGHEST = 2.5 * FREQUENCY  # Hz: next to nothing of a Ricker wavelet lies above
FINEST = 2.0  # cells: the shortest wavelength that a grid carries
SMALL = 1 << 16  # cells: on smaller maps threads wait for one another at every step longer than they work
MAX_SPEED = 20_000.0  # m/s: faster than sound in any rock, and a step of time too short to wait for


def shots(
    maps: ArrayLike,
    spacing: tuple[float, float],
    *,
    steps: int = STEPS,
    top_speed: float | None = None,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """The records of every source over every map.

    Args:
        maps: (n, H, W), (n, 1, H, W) or (H, W), m/s, 2 cells or more on a side.
        spacing: (dz, dx) between cells, metres.
        steps: samples to record, STEP seconds apart, the first at time 0.
        top_speed: m/s that the solver's own time step is chosen for; by default a map's own. Records of two maps are
            best compared at one time step: give the larger maximum of both.
        device: where waves are modelled, as torch names it.

    Returns:
        (n, SOURCES, steps, RECEIVERS) float32: pressure, by source and receiver from left to right.

    Raises:
        DataError: speeds that are not finite or not above 0, above MAX_SPEED, or too slow for the grid to carry.
        UsageError: wrong shape or spacing, or deepwave is not installed.
    """
    deepwave = backend()
    import torch

    speeds = _speeds(maps)
    if not all(np.isfinite(d) and d > 0 for d in spacing):
        raise UsageError(f"a spacing of {spacing} cannot be; give (dz, dx) in metres")
    for v in speeds:
        _check(v, spacing)
    width = speeds.shape[2]
    wavelet = torch.from_numpy(-ricker(steps)).to(device)  # with deepwave's own sign for sources
    sources = torch.full((SOURCES, 1, 2), DEPTH)
    sources[:, 0, 1] = torch.from_numpy(spread(SOURCES, width))
    # On maps of fewer columns than receivers some share one, which deepwave takes only once.
    columns, column_of = np.unique(spread(RECEIVERS, width), return_inverse=True)
    receivers = torch.full((SOURCES, len(columns), 2), DEPTH)
    receivers[:, :, 1] = torch.from_numpy(columns)
    records = np.empty((len(speeds), SOURCES, steps, RECEIVERS), np.float32)
    for v, record in zip(speeds, records, strict=True):
        with torch.no_grad(), _threads(v.size):
            *_, pressure = deepwave.scalar(
                torch.from_numpy(v).to(device),
                list(map(float, spacing)),
                STEP,
                source_amplitudes=wavelet.repeat(SOURCES, 1, 1),
                source_locations=sources.to(device),
                receiver_locations=receivers.to(device),
                accuracy=ORDER,
                pml_width=PML_WIDTH,
                pml_freq=FREQUENCY,
                max_vel=float(max(v.max(), top_speed or 0.0)),
            )
        record[:] = pressure.cpu().numpy()[:, column_of].swapaxes(1, 2)
    return records


def misfit(original: ArrayLike, restored: ArrayLike) -> NDArray[np.float64]:
    """Relative misfit of the records of each map, |d - d'| / |d| over all of its samples.

    Most of |d| is the direct wave from source to receiver, so a misfit is small even where reflections are not alike.
    Takes the records of n maps, (n, ...) of one shape, and returns (n,): 0 where they are equal. Raises UsageError
    where shapes differ.
    """
    d, other = np.asarray(original), np.asarray(restored)
    if d.shape != other.shape or d.ndim < 2:
        raise UsageError(f"records differ in shape: {d.shape} and {other.shape}; give matching ones")
    d, other = (a.reshape(len(a), -1).astype(np.float64) for a in (d, other))
    error, size = np.linalg.norm(d - other, axis=1), np.linalg.norm(d, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / size)


def ricker(steps: int = STEPS) -> NDArray[np.float32]:
    """The source's wavelet, (steps,), with its peak of 1 after DELAY seconds."""
    a = (np.pi * FREQUENCY * (np.arange(steps) * STEP - DELAY)) ** 2
    return ((1 - 2 * a) * np.exp(-a)).astype(np.float32)


def spread(count: int, width: int) -> NDArray[np.int64]:
    """Columns of `count` sources or receivers over a map `width` cells wide, from its first to its last."""
    return np.around(np.linspace(0, width - 1, count)).astype(np.int64)


def backend() -> Any:
    """The module deepwave. Raises UsageError where it is not installed."""
    try:
        import deepwave
    except ModuleNotFoundError as error:
        if error.name != "deepwave":
            raise
        raise UsageError("waveforms need deepwave; install it: pip install 'velcodec[waveform]'") from None
    # Some of its builds, compiled with -ffast-math, make the processor round the smallest numbers to 0 from here on.
    import torch

    torch.set_flush_denormal(False)
    return deepwave


def _speeds(maps: ArrayLike) -> NDArray[np.float32]:
    v = np.asarray(maps)
    singleton = v.ndim == 4 and v.shape[1] == 1
    if not (v.ndim in (2, 3) or singleton) or min(v.shape[-2:]) < 2:
        raise UsageError(
            f"maps must be (H, W), (n, H, W) or (n, 1, H, W), of 2 x 2 cells or more, not {v.shape}"
        )
    with np.errstate(over="ignore"):
        return np.array(
            v.reshape(-1, *v.shape[-2:]), np.float32, order="C"
        )  # a copy: torch wants it writable


def _check(v: NDArray[np.float32], spacing: tuple[float, float]) -> None:
    """Refuse speeds that no wave has, and those whose shortest waves the grid cannot carry."""
    low, high = float(v.min()), float(v.max())
    if not (np.isfinite(v).all() and low > 0):
        raise DataError("waves need speeds that are finite and above 0 m/s; choose other maps")
    if high > MAX_SPEED:
        raise DataError(f"waves of {high:.6g} m/s are not modelled; are the values in m/s?")
    coarsest = low / HIGHEST / FINEST
    if max(spacing) > coarsest * (1 + 1e-6):
        raise DataError(
            f"waves of {FREQUENCY:g} Hz at {low:.6g} m/s need cells of {coarsest:.3g} m or less, and these have"
            f" {max(spacing):g} m; are the values in m/s and the spacing in metres?"
        )


@contextmanager
def _threads(cells: int) -> Iterator[None]:
    """One thread for small maps: on a busy machine several are many times slower."""
    import torch

    before = torch.get_num_threads()
    if cells < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
