"""velcodec verify: is every section whole, and does every map keep what the file says of it?"""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from . import waveform as waves
from .common import (
    FAILED,
    Maps,
    MapsType,
    Stop,
    device_option,
    lost_of,
    plural,
    progress,
    ranges,
    read_blocks,
    rescued,
)
from .originals import open_original, read_maps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from velcodec import Archive
    from velcodec.summary import Quality

SHOWN = 10  # maps named when some do not hold


@dataclass
class Measured:
    """Figures of every map measured from the files, and what does not hold."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    max_error: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@click.command("verify", no_args_is_help=False)
@click.argument("file", metavar="FILE")
@click.option("--against", metavar="ORIGINAL", help="The array that was compressed: .npy, .npz or .h5.")
@click.option("--waveform", is_flag=True, help="Model shots over maps of both and compare the records.")
@click.option(
    "--waveform-maps",
    type=MapsType(),
    metavar="SLICE",
    help=f"Over which maps, as a Python slice or one index; by default the first {waves.FIRST}.",
)
@click.option(
    "--waveform-picture",
    metavar="PICTURE.png",
    help="Draw those maps and a shot over each; replaced if there.",
)
@device_option()
def command(
    file: str,
    against: str | None,
    waveform: bool,
    waveform_maps: Maps | None,
    waveform_picture: str | None,
    device: str,
) -> None:
    """Check a .vlz file, alone or against its original.

    Every section is read, its checksum compared, and every map decoded. With --against, PSNR, SSIM and maximum
    error of every map are measured from the two files and compared with what the .vlz file says of them. Exit
    code 1 means that something does not hold. FILE may be a URL or FILE.h5:/GROUP (see attach).

    --waveform models OpenFWI's 5 shots with deepwave and states |d - d'| / |d| of the records d over a map and d'
    over the restored one. It checks nothing. It needs speeds in m/s and pip install 'velcodec[waveform]'.

    \b
    velcodec verify models.vlz
    velcodec verify models.vlz --against models.npy
    velcodec verify models.vlz --against data.h5:/train/v
    velcodec verify models.vlz --against models.npy --waveform --waveform-maps 0:8
    """
    waves.check_options(waveform, against, waveform_picture, waveform_maps)
    import velcodec

    compared: list[waves.Compared] = []
    with rescued(file, "verify failed: ", FAILED), velcodec.open(file, device=device) as archive:
        chosen = waves.choose(archive, waveform_maps, waveform_picture) if waveform else ()
        archive.verify()
        if against is None:
            lost, measured = _decode(archive), None
        else:
            measured = _measure(archive, against)
            lost = [i for i, mode in enumerate(archive.quality.mode) if "lost" in mode]
            compared = waves.compare(archive, against, chosen, device) if chosen else []
        header, count = archive.header, len(archive)
    click.echo(f"{file}: {plural(count, 'map')}, every section whole, every map decoded")
    if lost:
        click.echo(f"  lost in a repair: {plural(len(lost), 'map')}, {ranges(lost)}")
    if measured is not None:
        _print(measured, header.units)
        if compared:
            waves.report(compared, measured.psnr, measured.ssim)
            if waveform_picture is not None:
                waves.write_picture(compared, header, waveform_picture)
        _judge(measured, file, count)


def _decode(archive: Archive) -> list[int]:
    """Decode every map; the numbers of those that a repair has lost."""
    lost: list[int] = []
    with progress(len(archive), "verify") as bar:
        for numbers, maps in read_blocks(archive, range(len(archive))):
            lost += lost_of(archive, numbers, maps)
            bar.update(len(numbers))
    return lost


def _measure(archive: Archive, against: str) -> Measured:
    from velcodec import metrics

    original, measured = open_original(archive, against), Measured()
    quality = archive.quality
    with progress(len(archive), "verify") as bar:
        for numbers, restored in read_blocks(archive, range(len(archive))):
            v = read_maps(original, numbers)
            measured.psnr += metrics.psnr(v, restored).tolist()
            measured.ssim += metrics.ssim(v, restored).tolist()
            measured.max_error += metrics.max_error(v, restored).tolist()
            measured.broken += _broken(archive, quality, numbers[0], v, restored)
            bar.update(len(numbers))
    return measured


def _broken(
    archive: Archive, quality: Quality, first: int, original: NDArray[Any], restored: NDArray[Any]
) -> list[str]:
    """What does not hold of the maps from `first` on, a line each."""
    import numpy as np

    from velcodec import metrics

    lines = []
    psnr, error = metrics.psnr(original, restored), metrics.max_error(original, restored)
    rmse = np.sqrt(metrics.mse(original, restored))
    for i in range(len(original)):
        number = first + i
        if "lost" in quality.mode[number]:
            lines.append(f"map {number} was lost in a repair")
            continue
        stated, bound = float(quality.psnr[number]), float(quality.max_error[number])
        if quality.mode[number] == "exact" or stated == np.inf:
            if not _same_bits(original[i], restored[i]):
                lines.append(f"map {number} is stated to be exact and differs by up to {error[i]:.4g}")
            continue
        slack = _slack(archive, original[i])
        # A decode may differ by the slack from the one that was measured, and so may its root mean square error.
        span = float(np.ptp(original[i].astype(np.float64)))
        if stated > 0 and rmse[i] > span * 10 ** (-stated / 20) * (1 + 1e-9) + slack:
            lines.append(f"map {number} reads back at {psnr[i]:.2f} dB and is stated at {stated:.2f} dB")
        elif error[i] > bound + slack:
            lines.append(f"map {number} is off by up to {error[i]:.4g} and is stated to keep to {bound:.4g}")
    return lines


def _same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Equal to the bit, so that -0 and 0 differ, whatever the byte order."""
    native = b.dtype.newbyteorder("=")
    return a.dtype.newbyteorder("=") == native and a.astype(native).tobytes() == b.astype(native).tobytes()


def _slack(archive: Archive, original: NDArray[np.generic]) -> float:
    """How far two decodes of one sample may lie apart: the codebook's drift, and the rounding to the dtype."""
    import numpy as np

    drift = float(archive.codebook.drift) * archive.header.scale
    if archive.dtype.kind in "iu":
        return drift + 1.0
    top = np.abs(original).max().astype(archive.dtype.newbyteorder("="))
    return drift + float(np.spacing(top))


def _print(measured: Measured, units: str) -> None:
    import numpy as np

    psnr, ssim = np.array(measured.psnr), np.array(measured.ssim)
    lossy = psnr[np.isfinite(psnr)]
    exact = int((psnr == np.inf).sum())
    if exact:
        click.echo(f"  restored without error: {plural(exact, 'map')}")
    if len(lossy):
        of = f", of {plural(len(lossy), 'map')} with errors" if exact else ""
        click.echo(f"  PSNR   mean {lossy.mean():.2f} dB, min {lossy.min():.2f} dB{of}")
    if np.isfinite(ssim).any():
        click.echo(f"  SSIM   mean {np.nanmean(ssim):.4f}, min {np.nanmin(ssim):.4f}")
    click.echo(f"  max error {max(measured.max_error):.4g} {units}")


def _judge(measured: Measured, file: str, count: int) -> None:
    if not measured.broken:
        click.echo("  every map keeps what the file states")
        return
    for line in measured.broken[:SHOWN]:
        click.echo(f"  {line}")
    if len(measured.broken) > SHOWN:
        click.echo(f"  and {len(measured.broken) - SHOWN} more")
    bad = f"{len(measured.broken)} of {plural(count, 'map')} do not keep what the file states"
    raise Stop(f"verify failed: {file}: {bad}; compress the original again", FAILED)
