"""What the commands share: options, types of arguments, progress bars, and errors as one line.

Nothing here imports torch, h5py or matplotlib, and commands import the library where they use it, so that help and
mistakes in options answer at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from velcodec import Archive

Maps: TypeAlias = "slice | int"
Grid: TypeAlias = tuple[int, int]
Window: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

FAILED, MISUSED, BUG, INTERRUPTED, CLOSED_PIPE = 1, 2, 70, 130, 141  # exit codes
READ_MAPS = 500  # maps decoded at once: a shard, whose blocks are read side by side
READ_SAMPLES = 1 << 22  # samples decoded at once, where that many maps would be more


class Stop(Exception):  # noqa: N818
    """Ends a command with an exit code and one line on stderr, as it stands after `velcodec: `."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ClosedPipe(Exception):  # noqa: N818
    """Whoever read our output has gone. On the system's own error click ends with 1, here a failed verify."""


def one_line(text: object) -> str:
    """A message without line breaks or a full stop at its end."""
    return " ".join(str(text).split()).rstrip(".")


def stop(message: object, exit_code: int = MISUSED) -> NoReturn:
    """End the command with an error."""
    raise Stop(f"error: {one_line(message)}", exit_code)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors of the library and of the system as one line; those of the program itself pass."""
    from velcodec.errors import VelcodecError

    try:
        yield
    except KeyboardInterrupt:
        raise Stop("interrupted; nothing was left under the output's name", INTERRUPTED) from None
    except BrokenPipeError:
        raise ClosedPipe from None
    except VelcodecError as error:
        stop(error)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        stop(f"{error.filename}: {reason}; check the path and its permissions" if error.filename else reason)
    except MemoryError:
        stop("not enough memory; ask for fewer maps at a time or a smaller --res")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("velcodec"):
            raise
        stop(f"this command needs {error.name}; install it with: pip install {error.name}")


def describe(error: click.ClickException) -> str:
    """What stderr says about an error of the command line."""
    message = one_line(error.format_message())
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "velcodec"
        message += f"; see '{command} --help'"
    return f"velcodec: error: {message}"


# Types of arguments


class MapsType(click.ParamType):  # type: ignore[type-arg]
    """A Python slice or one index, as in 0:10, ::5, -3: or 7."""

    name = "maps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Maps:
        if isinstance(value, (slice, int)):
            return value
        number = r"\s*(-?\d+)?\s*"
        found = re.fullmatch(f"{number}(?::{number})?(?::{number})?", value, re.ASCII)
        if not found or not value.strip():
            self.fail(f"{value!r} is not a slice like 0:10 or one index", param, ctx)
        parts = [int(part) if part else None for part in found.groups()]
        if ":" not in value:
            return int(value)
        if parts[2] == 0:
            self.fail(f"{value!r} has a step of 0", param, ctx)
        return slice(*parts)


class GridType(click.ParamType):  # type: ignore[type-arg]
    """A grid of samples, N or HxW."""

    name = "N|HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Grid:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+)(?:[xX](\d+))?", str(value).strip(), re.ASCII)
        if found and max(len(part or "") for part in found.groups()) > 6:
            self.fail(f"{value!r} is too large a grid; a side has 999999 samples at most", param, ctx)
        if not found or int(found[1]) == 0 or int(found[2] or 1) == 0:
            self.fail(f"{value!r} is not a grid like 280 or 140x280", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class WindowType(click.ParamType):  # type: ignore[type-arg]
    """A window in native cells, Z0:Z1,X0:X1."""

    name = "Z0:Z1,X0:X1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Window:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"\s*(\d+):(\d+)\s*,\s*(\d+):(\d+)\s*", value, re.ASCII)
        if not found:
            self.fail(f"{value!r} is not a window like 0:35,20:50", param, ctx)
        z0, z1, x0, x1 = (int(part) for part in found.groups())
        if z0 >= z1 or x0 >= x1:
            self.fail(f"{value!r} holds no cells; give the lower end first", param, ctx)
        return (z0, z1), (x0, x1)


# Options that several commands have

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def device_option(several: bool = False) -> Decorator:
    """--device, for commands that run a network; on several devices side by side."""
    names = "auto|cpu|cuda|cuda:0,cuda:1" if several else "auto|cpu|cuda"
    text = "Where networks run; workers take several in turn." if several else "Where networks run."
    return click.option("--device", default="auto", show_default=True, metavar=names, help=text)


def maps_option(text: str) -> Decorator:
    """--maps, a Python slice."""
    return click.option("--maps", type=MapsType(), metavar="SLICE", help=text)


def res_option(text: str, default: str | None = None) -> Decorator:
    """--res, a grid of samples."""
    return click.option("--res", type=GridType(), default=default, show_default=True, help=text)


def block_option(default: int | None, text: str) -> Decorator:
    """--block, maps that are coded together."""
    return click.option(
        "--block",
        type=click.IntRange(1, 4096),
        default=default,
        show_default=True,
        metavar="MAPS",
        help=f"Maps coded together: with fewer one is read sooner, and takes more bytes.{text}",
    )


def overwrite_option() -> Decorator:
    """--overwrite; without it no file is replaced."""
    return click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")


# Maps of an archive


def pick(maps: Maps | None, count: int, option: str = "--maps") -> range:
    """The maps chosen of an archive's, in order. Ends the command where there is none."""
    if maps is None:
        return range(count)
    if isinstance(maps, int):
        if not -count <= maps < count:
            stop(f"{option} {maps} is outside the file's {count} maps; use 0 to {count - 1}")
        return range(maps % count, maps % count + 1)
    chosen = range(count)[maps]
    if not chosen:
        stop(f"{option} chooses none of the file's {count} maps; use a slice within 0:{count}")
    return chosen


def read_blocks(
    archive: Archive, chosen: Sequence[int], shape: Grid | None = None, window: Window | None = None
) -> Iterator[tuple[Sequence[int], Any]]:
    """The maps chosen, block by block: (their numbers, (n, H', W') array), so that memory stays bounded."""
    height, width = shape or archive.map_shape
    size = max(1, min(READ_MAPS, READ_SAMPLES // (height * width)))
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        yield part, archive.read(list(part), shape, window)


def lost_of(archive: Archive, numbers: Sequence[int], maps: Any) -> list[int]:
    """The numbers of those maps (n, H, W) that a repair has lost.

    They hold NaN, or are 0 all over, or tiles of them are: only then the archive is asked, which reads every block.
    """
    tiled = len(archive.header.layout) > 1
    suspect = [i for i, m in zip(numbers, maps, strict=True) if tiled or not (m == m).all() or not m.any()]
    return [i for i in suspect if "lost" in archive.quality.mode[i]]


@contextmanager
def rescued(file: str, prefix: str = "error: ", exit_code: int = MISUSED) -> Iterator[None]:
    """Ends the command where a file is damaged, and says what can be done about that."""
    import velcodec
    from velcodec import container

    try:
        yield
    except velcodec.VersionError:
        raise  # nothing is known to be wrong with the file
    except velcodec.FormatError as error:
        advice = f"; restore the file from a copy, or save what is whole: velcodec repair {file} REPAIRED.vlz"
        other = container.NO_VLZ in str(error)  # nothing to be saved
        raise Stop(f"{prefix}{one_line(error)}{'' if other else advice}", exit_code) from error


# What stderr and stdout show


@contextmanager
def progress(total: int, label: str, unit: str = "map", keep: bool = False) -> Iterator[Any]:
    """A bar on stderr where that is a terminal, else nothing: `.update(n)` moves it on."""
    from tqdm import tqdm

    with tqdm(total=total, desc=label, unit=f" {unit}", file=sys.stderr, disable=None, leave=keep) as bar:
        yield bar


@contextmanager
def counted(label: str, keep: bool = False) -> Iterator[Callable[[int, int], None]]:
    """The same bar, moved on by calls with (maps done, maps in all)."""
    with progress(0, label, keep=keep) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def sized(size: float) -> str:
    """Bytes in the unit that suits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers as Python slices: 3:4, 25:50."""
    ends = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    firsts, lasts = [0, *ends], [*ends, len(numbers)]
    return ", ".join(f"{numbers[a]}:{numbers[b - 1] + 1}" for a, b in zip(firsts, lasts, strict=True))


def modes_line(modes: dict[str, int]) -> str:
    """Modes with their counts."""
    return ", ".join(f"{mode} {count:,}" for mode, count in modes.items())


def psnr_line(psnr: dict[str, float | None]) -> str:
    """Mean and least PSNR; only maps that are not exact have one."""
    if psnr["mean"] is None or psnr["min"] is None:
        return "all maps exact"
    return f"PSNR mean {psnr['mean']:.2f} dB, min {psnr['min']:.2f} dB"
