"""What pictures of maps are made of: panels of values with colour bars, of errors, and the file they go to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .common import stop

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

Extent: TypeAlias = tuple[float, float, float, float]  # of the axes: left, right, bottom, top

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".pdf", ".svg")
GREY = "#555555"


def check_picture(output: Path) -> None:
    """End the command where no picture can be written there."""
    if output.suffix.lower() not in ENDINGS:
        stop(f"{output}: not the name of a picture; end it in {', '.join(ENDINGS)}")
    if output.is_dir() or not output.parent.is_dir():
        stop(f"{output}: not a file in a directory that exists; make the directory first")


def map_extent(shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[Extent, str]:
    """The extent of a map's axes, and the unit of their lengths."""
    depth, width = (n * d for n, d in zip(shape, spacing, strict=True))
    per, length = (1000.0, "km") if max(depth, width) >= 5000 else (1.0, "m")
    return (0, width / per, depth / per, 0), length


@contextmanager
def drawing() -> Iterator[None]:
    """Figures are drawn into memory, in the style of all pictures."""
    import matplotlib as mpl

    mpl.use("Agg")
    style: Any = {
        "font.size": 8,
        "axes.titlesize": 8.5,
        "axes.edgecolor": GREY,
        "axes.linewidth": 0.6,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "axes.labelcolor": GREY,
    }
    with mpl.rc_context(style):
        yield


def panel(axis: Axes, values: NDArray[Any], extent: Extent, colours: str, low: float, high: float) -> Any:
    """Draw values (H, W) from low to high; the image, for its colour bar."""
    import numpy as np

    axis.set_facecolor("#cccccc")  # NaN shows as grey
    masked = np.ma.masked_invalid(values.astype(np.float64))
    aspect: Literal["equal", "auto"] = "equal" if 0.4 <= extent[1] / extent[2] <= 4 else "auto"
    image = axis.imshow(
        masked, cmap=colours, vmin=low, vmax=high, extent=extent, aspect=aspect, interpolation="nearest"
    )
    axis.locator_params(nbins=4)
    axis.tick_params(length=2.5, width=0.6)
    return image


def error_panel(
    figure: Figure, axis: Axes, original: NDArray[Any], restored: NDArray[Any], extent: Extent, units: str
) -> float:
    """Draw restored - original, with its colour bar; the largest error."""
    import numpy as np

    from velcodec import metrics

    with np.errstate(invalid="ignore"):
        error = restored.astype(np.float64) - original.astype(np.float64)
    finite = np.abs(error[np.isfinite(error)])
    top = float(metrics.max_error(original, restored)[0])
    # A few samples at edges are far off; a scale that ends at 99.5 % of them leaves the rest visible.
    limit = float(np.quantile(finite, 0.995)) if finite.size else 0.0
    limit = limit or (top if np.isfinite(top) else 0.0) or 1.0
    image = panel(axis, error, extent, "RdBu_r", -limit, limit)
    colour_bar(figure, image, axis, units, extend="both" if top > limit else "neither")
    return top


def colour_bar(figure: Figure, image: Any, axis: Axes, label: str, extend: str = "neither") -> None:
    """A colour bar beside a panel."""
    from matplotlib.ticker import MaxNLocator

    place = axis.inset_axes((1.03, 0, 0.045, 1))  # as high as the map, whatever its shape
    bar = figure.colorbar(image, cax=place, extend=extend, extendfrac=0.03)
    bar.set_label(label, color=GREY, labelpad=2)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, width=0.5)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    """The least and the greatest finite value, apart from each other."""
    import numpy as np

    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 1, high + 1)


def error_title(top: float, units: str) -> str:
    """What a panel of errors up to `top` is called: three digits or more, no exponent where sizes are usual."""
    if top == 0:
        return "error: none"
    return f"error: up to {f'{top:,.0f}' if 100 <= top < 1e7 else f'{top:.3g}'} {units}"


def quality_title(psnr: float, ssim: float) -> str:
    """How good a restored map is, in a few words."""
    return "exact" if psnr == float("inf") else f"{psnr:.1f} dB, SSIM {ssim:.3f}"


def save(figure: Figure, output: Path) -> None:
    """Rendered in memory first: a picture that fails leaves the old one."""
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, format=output.suffix[1:].lower(), dpi=160, facecolor="white")
    pyplot.close(figure)
    output.write_bytes(buffer.getvalue())
