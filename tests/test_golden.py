"""Files of every released version decode for ever, to what they decoded to when that version was current."""

import json
from pathlib import Path

import numpy as np
import pytest

import velcodec

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*/*.vlz"))
DRIFT = 0.5  # m/s: these codebooks have weights at random and are measured over one machine only


def test_there_are_golden_files_of_this_version() -> None:
    assert len([p for p in GOLDEN if p.parent.name == f"v{velcodec.__version__}"]) >= 7


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_golden_files_decode_as_they_did(path: Path) -> None:
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as expected:
        restored = velcodec.decompress(path)
        assert restored.dtype == expected["native"].dtype
        exact = expected["mode"] == "exact"
        drifts = np.array(["latent" in mode for mode in expected["mode"]])
        with velcodec.open(path) as archive:
            native, back = expected["native"], np.asarray(restored)
            if len(exact) == len(archive) and not archive.header.axis:
                native, back = (v.reshape(len(exact), *restored.shape[-2:]) for v in (native, back))
                np.testing.assert_array_equal(back[~drifts], native[~drifts])
            np.testing.assert_allclose(back, native, rtol=0, atol=DRIFT if drifts.any() else 0)
        with velcodec.open(path) as archive:
            archive.verify()
            off = np.abs(archive.read([0], shape=(31, 47)) - expected["fine"])
            # Interfaces are drawn where splines put them: a sample right on one may fall to either side.
            assert np.nanpercentile(off, 99) <= DRIFT
            # Powers and logarithms: the last digit is the processor's.
            np.testing.assert_allclose(archive.quality.psnr, expected["psnr"], rtol=1e-14)
            np.testing.assert_allclose(archive.quality.max_error, expected["max_error"], rtol=1e-14)
            assert archive.quality.mode == tuple(expected["mode"])
            if "sources" in expected:
                assert [s.to_json() for s in archive.sources] == json.loads(str(expected["sources"]))
