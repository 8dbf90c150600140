"""Maps and files that several tests use."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import velcodec
from velcodec import synth

torch.set_num_threads(1)
DATA = Path(os.environ.get("VELCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def mixed_maps() -> NDArray[np.float32]:
    """One map of each family, (10, 70, 70), m/s."""
    return np.concatenate([synth.generate(family, 1, seed=7) for family in synth.FAMILIES])


@pytest.fixture
def compressed(tmp_path: Path) -> Callable[..., Path]:
    """compressed(array, **options) writes an archive and gives its path."""

    def write(array: Any, **options: Any) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.vlz"
        velcodec.compress(array, path, **{"effort": 0, **options})
        return path

    return write


def real(name: str) -> NDArray[np.float32]:
    """A real OpenFWI dev shard, (n, 1, 70, 70); the test is skipped where the data is not at hand."""
    path = DATA / f"openfwi_{name}_dev.npz"
    if not path.exists():
        pytest.skip("the real shards are not at hand")
    with np.load(path) as file:
        return np.asarray(file["v"])


def real_maps(name: str, count: int | None = None) -> NDArray[np.float32]:
    """Maps (n, H, W) of a real dev shard, or the one of a large model; skipped where the data is not at hand."""
    path = DATA / f"{name}.npz"
    if not path.exists():
        maps = real(name)[:, 0]
    else:
        with np.load(path) as file:
            maps = np.asarray(file["v"])
        maps = maps.reshape(-1, *maps.shape[-2:])
    return maps[:count]
