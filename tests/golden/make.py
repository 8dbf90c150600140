"""Write the golden files of the current version, once: python -m tests.golden.make

A golden file holds its codebook, so that it stands alone, and a small one, so that it stays small. Beside each .vlz
lies what it must decode to. Files that exist are never written again.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

import velcodec
from velcodec import codebook, decoders, prior, synth

HERE = Path(__file__).parent
LATENT = 8
DECODERS: dict[str, dict[str, Any]] = {
    "siren": {"latent": LATENT, "width": 24, "depth": 2, "split_init": True},
    "warp": {"latent": LATENT, "features": 3, "channels": 2, "samples": 24, "width": 8},
}


def tiny_codebook(family: str) -> codebook.Codebook:
    """A small codebook of random weights without an encoder network: two table sets, two steps."""
    torch.manual_seed(0)
    decoder = decoders.build(family, DECODERS[family])
    tensors = {f"decoder.{k}": v.numpy().astype(np.float16) for k, v in decoder.state_dict().items()}
    k = np.arange(-20, 21)
    masses = [[(-20, np.exp(-np.abs(k) / width)) for _ in range(LATENT)] for width in (3.0, 6.0)]
    made = prior.build(np.array([0.2, 0.1], np.float32), masses)
    for name in ("step", "low", "size", "frequency"):
        tensors[f"prior.{name}"] = getattr(made, name)
    card = {
        "id": f"golden-{family}",
        "version": 1,
        "decoding": {"decoder": family, "options": DECODERS[family], "normalisation": [3000.0, 1500.0]},
        "encoder": None,
        "rate": 1e-3,
        "drift_bound": 1e-3,
    }
    return codebook.Codebook(tensors, card)


def cases() -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Name -> (decoder, array, options): one case a feature of the format."""
    maps = synth.generate("FlatFault_A", 3, seed=5)
    holed = maps[:, ::5, ::7].copy()
    holed[1, 2, 3] = np.nan
    low = {"psnr": 3.0, "effort": 2}
    return {
        "entropy": ("siren", maps, {"latent_only": True, "effort": 2}),
        "warp": ("warp", maps[:, None], {"latent_only": True, "effort": 2}),
        "int8": ("siren", maps, {"latent_only": True, "latent": "int8", "effort": 2}),
        "fp16": ("siren", maps, {"latent_only": True, "latent": "fp16", "effort": 2}),
        "mixed-nan": ("siren", holed, low),  # latents and an exact map in one block
        "lossless-big-endian-f8": ("siren", maps[0, :20, :30].astype(">f8"), {"lossless": True}),
        "lossless-i2": ("siren", synth.generate("CurveVel_B", 4)[:, None].astype("<i2"), {"lossless": True}),
    }


def main() -> None:
    """Write what is not there yet."""
    folder = HERE / f"v{velcodec.__version__}"
    folder.mkdir(exist_ok=True)
    for family in DECODERS:
        codebook.save(tiny_codebook(family), folder / f"{family}.safetensors", overwrite=True)
    for name, (family, array, options) in cases().items():
        path = folder / f"{name}.vlz"
        if path.exists():
            print(f"kept {path.name}")
            continue
        book = folder / f"{family}.safetensors"
        velcodec.compress(array, path, codebook=str(book), embed_codebook="always", device="cpu", **options)
        with velcodec.open(path, device="cpu") as archive:
            native = velcodec.decompress(path, device="cpu")
            fine = archive.read([0], shape=(31, 47))
            quality = archive.quality
            np.savez_compressed(
                path.with_suffix(".npz"),
                native=native,
                fine=fine,
                psnr=quality.psnr,
                max_error=quality.max_error,
                mode=np.array(quality.mode),
            )
        print(f"wrote {path.name}, {path.stat().st_size} bytes")
    for family in DECODERS:
        (folder / f"{family}.safetensors").unlink()


if __name__ == "__main__":
    main()
