"""What the benchmarks share: where the maps come from, what the machine is, and the shape of a table.

Real shards are used where their folder is there: VELCODEC_DATA, or shared/data beside the repository. They are not
part of the project. Elsewhere, and for the other families, maps come from synth.py with a seed held out of training.
"""

import os
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import velcodec
from velcodec import synth

Maps: TypeAlias = NDArray[np.float32]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
SEED = 424_242  # of the synthetic maps, held out of training
CORES = 2


def shard(family: str, part: str) -> Maps | None:
    """The real maps of a family, (n, 1, 70, 70) m/s, part "train" or "dev"; None where they are not at hand."""
    folder = Path(os.environ.get("VELCODEC_DATA", ROOT.parent / "shared" / "data"))
    path = folder / f"openfwi_{family.lower()}_{part}.npz"
    if not path.is_file():
        return None
    with np.load(path) as file:
        return file["v"]


def maps_of(family: str, count: int) -> tuple[Maps, str]:
    """At most count maps of a family that no codebook was trained on, (n, 1, 70, 70), and "real" or "synthetic"."""
    real = shard(family, "dev")
    if real is not None:
        return real[:count], "real"
    return synth.generate(family, count, 70, seed=SEED)[:, None], "synthetic"


def use_cores(count: int = CORES) -> int:
    """Keep this process and its children to a few cores; call before torch is imported. The number it got."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
        count = len(os.sched_getaffinity(0))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
    return count


def machine() -> dict[str, str]:
    """The processor, the system and the versions that figures depend on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = found[0].split(":", 1)[1].strip() if found else name
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "constriction")}
    return {
        "processor": name,
        "system": platform.system(),
        "python": platform.python_version(),
        "velcodec": velcodec.__version__,  # an editable install's metadata may be of an earlier one
        **versions,
    }


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A markdown table, the first column to the left and the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
