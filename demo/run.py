"""The demo: compress, inspect and restore the bundled sample by the commands that a user would type.

sample.npz -> archives, one a request -> restored arrays at 70 x 70 and 280 x 280 -> demo.png and a table
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from velcodec import metrics

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "output"
SAMPLE = "demo/sample.npz"


def run(command: str) -> None:
    """Show a velcodec command and run it in the repository's root."""
    print(f"$ {command}", flush=True)
    words = shlex.split(command)
    words[0] = str(Path(sys.executable).parent / words[0])
    done = subprocess.run(words, cwd=HERE.parent, check=False)
    if done.returncode:
        sys.exit(f"the demo stopped: that command ended with exit code {done.returncode}")
    print(flush=True)


def restored(archive: str) -> NDArray[np.float32]:
    """The maps of an archive, as decompressed by the command line."""
    array = f"{archive.removesuffix('.vlz')}.npy"
    run(f"velcodec decompress demo/output/{archive} demo/output/{array}")
    return np.load(OUTPUT / array)


def row(name: str, size: int, original: NDArray[np.float32], copy: NDArray[np.float32] | None) -> str:
    """A line of the table; no copy means that every bit is kept."""
    n = len(original)
    quality = "exact"
    if copy is not None and not np.array_equal(copy, original):
        each = np.asarray(metrics.psnr(original[:, 0], copy[:, 0]))
        lossy = each[np.isfinite(each)]
        quality = f"{lossy.mean():.1f} dB, at least {lossy.min():.1f}"
        if exact := len(each) - len(lossy):
            quality += f"; {exact} of {n} maps exact"
    return f"{name:<34}{size:>9,}{size / n:>9,.0f}{original.nbytes / size:>9.1f}   {quality}"


def main() -> None:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    with np.load(HERE / "sample.npz") as file:
        original = file["v"]
    print(f"{SAMPLE}: {len(original)} synthetic velocity models, four of each OpenFWI family\n")
    run(f"velcodec compress {SAMPLE} demo/output/psnr35.vlz --psnr 35")
    run(f"velcodec compress {SAMPLE} demo/output/bound25.vlz --max-error 25")
    run(f"velcodec compress {SAMPLE} demo/output/exact.vlz --lossless")
    run(f"velcodec compress {SAMPLE} demo/output/latent.vlz --latent-only")
    run("velcodec info demo/output/psnr35.vlz")
    run(f"velcodec verify demo/output/psnr35.vlz --against {SAMPLE}")
    run("velcodec decompress demo/output/latent.vlz demo/output/fine.npy --res 280")
    run(f"velcodec plot demo/output/latent.vlz -o demo/output/demo.png --maps ::4 --against {SAMPLE}")
    copies = {name: restored(name) for name in ("psnr35.vlz", "bound25.vlz", "exact.vlz", "latent.vlz")}
    zstd = zstandard.ZstdCompressor(level=22)
    rows = [
        row("raw float32", original.nbytes, original, None),
        row(
            "zstd -22, one map a file", sum(len(zstd.compress(v.tobytes())) for v in original), original, None
        ),
        row("zstd -22, all in one file", len(zstd.compress(original.tobytes())), original, None),
        *(
            row(name, (OUTPUT / archive).stat().st_size, original, copies[archive])
            for name, archive in (
                ("velcodec --lossless", "exact.vlz"),
                ("velcodec --max-error 25", "bound25.vlz"),
                ("velcodec --psnr 35", "psnr35.vlz"),
                ("velcodec --latent-only", "latent.vlz"),
            )
        ),
    ]
    print(f"{'':<34}{'bytes':>9}{'a map':>9}{'ratio':>9}   PSNR")
    print("\n".join(rows))
    fine = np.load(OUTPUT / "fine.npy", mmap_mode="r")
    print(f"\nat 280 x 280:  demo/output/fine.npy, {fine.shape}")
    print("picture:       demo/output/demo.png (originals, restored maps, errors)")


if __name__ == "__main__":
    main()
