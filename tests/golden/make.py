"""Write the golden files of the current version, once: python -m tests.golden.make [CASE...]

A golden file holds its codebook, so that it stands alone, and a small one, so that it stays small. Beside each .vlz
lies what it must decode to. Files that exist are never written again. A version that changes little needs those cases
alone that are new.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import velcodec
from velcodec import archiving, codebook, decoders, encoder, modes, prior, synth
from velcodec.decoders.choice import ChoiceDecoder
from velcodec.request import Request
from velcodec.shards import find_shards
from velcodec.tables import always

HERE = Path(__file__).parent
LATENT, WIDE = 8, 300
DEFAULT = "default"  # the codebook that a release comes with, for ever: not in the file
DECODERS: dict[str, dict[str, Any]] = {
    "siren": {"latent": LATENT, "width": 24, "depth": 2, "split_init": True},
    "warp": {"latent": LATENT, "features": 3, "channels": 2, "samples": 24, "width": 8},
    "choice": {
        "latent": LATENT,
        "warp": {"latent": 5, "features": 3, "channels": 2, "samples": 24, "width": 8},
    },
    "three": {  # a choice with layers, of more numbers than a latent that is not coded keeps
        "latent": WIDE,
        "warp": {"latent": 5, "features": 3, "channels": 2, "samples": 24, "width": 8},
        "layered": {"layers": 7, "waves": 9},
    },
}


def tiny_codebook(name: str) -> codebook.Codebook:
    """A small codebook of random weights without an encoder network: two table sets, two steps."""
    torch.manual_seed(0)
    family = "choice" if name == "three" else name
    decoder = decoders.build(family, DECODERS[name])
    if name == "three":
        assert isinstance(decoder, ChoiceDecoder)
        decoder.cosines.waves.copy_(torch.tensor([[d % 15, d // 15] for d in range(WIDE - 1)]))
    elif isinstance(decoder, ChoiceDecoder):
        decoder.cosines.waves.copy_(torch.tensor([[0, 0], [0, 1], [1, 0], [0, 2], [1, 1], [3, 5], [69, 0]]))
    tensors = {f"decoder.{k}": v.numpy().astype(np.float16) for k, v in decoder.state_dict().items()}
    k = np.arange(-20, 21)
    masses = [[(-20, np.exp(-np.abs(k) / width)) for _ in range(LATENT)] for width in (3.0, 6.0)]
    steps = [0.2, 0.1]
    if isinstance(decoder, ChoiceDecoder):  # and sets for cosines, which number 0 marks
        for row in masses:
            row[0] = (-1, np.array([1e-9, 1.0]))
        wide = np.arange(-200, 201)
        for width in (20.0, 40.0):
            numbers = [(-200, np.exp(-np.abs(wide) / width))] * (LATENT - 1)
            masses.append([(1, np.array([1.0, 1e-9])), *numbers])
        steps += [2.0, 0.5]
    if name == "three":  # number 0 marks the part; what the part does not use is always 0
        wide, narrow, sharp = (
            (-most, np.exp(-np.abs(np.arange(-most, most + 1)) / width))
            for most, width in ((200, 40.0), (5, 1.0), (20, 3.0))
        )
        waves = [wide if d % 15 < 4 and d < 60 else narrow for d in range(290)]
        masses = [
            [always(mark), *own, *[always(0)] * (WIDE - 1 - len(own))]
            for mark, own in ((0, [sharp] * 5), (1, waves), (1, waves), (40, [wide] * 61))
        ]
        steps = [0.2, 2.0, 0.5, 0.5]
    made = prior.build(np.array(steps, np.float32), masses)
    tensors |= made.tensors()
    card = {
        "id": f"golden-{name}",
        "version": 1,
        "decoding": {"decoder": family, "options": DECODERS[name], "normalisation": [3000.0, 1500.0]},
        "encoder": None,
        "rate": 1e-3,
        "drift_bound": 1e-3,
    }
    return codebook.Codebook(tensors, card)


def unlike_training() -> NDArray[np.float32]:
    """Maps with numbers past the tables of the default codebook, and one whose velocities come back: (3, 70, 70)."""
    z, x = np.mgrid[:70, :70]
    steep = np.where(z > 20 + 45 / (1 + np.exp(-(x - 55) / 2.0)), 3900, 2400)
    style = synth.generate("Style_A", 1, seed=6)[0]
    strong = 3000 + 1.6 * (style - style.mean())
    shale = np.where((z + np.round(9 * np.sin(x / 9))) % 40 < 20, 2200, 3100)
    return np.stack([steep, strong, shale]).astype(np.float32)


def cases() -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Name -> (decoder, array or files of an archive, options): one case a feature of the format."""
    maps = synth.generate("FlatFault_A", 3, seed=5)
    holed = maps[:, ::5, ::7].copy()
    holed[1, 2, 3] = np.nan
    style = synth.generate("Style_A", 2, (24, 30), seed=5)
    styles = np.concatenate([synth.generate(f, 2, seed=5) for f in ("Style_A", "Style_B")])
    wide = synth.generate("FlatFault_A", 1, (80, 160), seed=5)[0]
    layers = synth.generate("CurveVel_A", 4, seed=5)
    uneven = layers + np.random.default_rng(5).uniform(-0.5, 0.5, layers.shape).astype(layers.dtype)
    uneven[2] = np.where(layers[2] == layers[2, 0, 0], np.nan, layers[2])  # no multiples of anything
    faults = synth.generate("CurveFault_A", 3, (60, 80), seed=5)
    blurred = np.mean([np.roll(faults, (i, k), (1, 2)) for i in range(3) for k in range(3)], 0)[:, 3:, 3:]
    few = np.concatenate([layers[:, ::9, ::9], faults[:, ::7, ::9][:, :8, :8]])
    ten = np.concatenate([synth.generate(f, 1, seed=6) for f in synth.FAMILIES])
    return {
        "v5": (DEFAULT, ten, {"latent_only": True, "effort": 1}),
        "v5-past-tables": (DEFAULT, unlike_training(), {"latent_only": True, "effort": 1, "psnr": 38.0}),
        "v5-at-a-psnr": (DEFAULT, ten, {"latent_only": True, "effort": 1, "psnr": 30.0}),
        "archive": (
            DEFAULT,
            {"CurveVel_A/model3.npy": layers, "FlatFault_A/vel2_1.npy": maps},
            {"effort": 1},
        ),
        "v5-fp16": (DEFAULT, ten, {"latent_only": True, "latent": "fp16", "effort": 0}),
        "entropy": ("siren", maps, {"latent_only": True, "effort": 2}),
        "warp": ("warp", maps[:, None], {"latent_only": True, "effort": 2}),
        "choice": ("choice", np.concatenate([maps, styles]), {"latent_only": True, "effort": 2}),
        "choice-at-a-psnr": ("choice", styles, {"latent_only": True, "psnr": 12.0, "effort": 0}),
        "choice-fp16": ("choice", styles, {"latent_only": True, "latent": "fp16", "effort": 0}),
        "layers": ("three", np.concatenate([layers, styles]), {"latent_only": True, "effort": 1}),
        "three-fp16": ("three", styles, {"latent_only": True, "latent": "fp16", "effort": 0}),
        "soft": ("siren", maps, {"psnr": 32.0, "effort": 3}),
        "soft-fine": ("siren", faults, {"psnr": 38.0, "effort": 3}),
        "int8": ("siren", maps, {"latent_only": True, "latent": "int8", "effort": 2}),
        "fp16": ("siren", maps, {"latent_only": True, "latent": "fp16", "effort": 2}),
        "mixed-nan": (
            "siren",
            holed,
            {"psnr": 3.0, "effort": 2},
        ),  # several modes and an exact map in one block
        "layered": ("siren", synth.generate("CurveVel_A", 3, seed=5), {"lossless": True}),
        "max-error-layers": ("siren", uneven, {"max_error": 25.0, "effort": 0}),  # layers of both kinds
        "blurred-faults": ("siren", blurred.astype(np.float32), {"max_error": 5.0, "effort": 0}),
        "adaptive-kinds": ("siren", np.tile(few, (8, 1, 1)), {"lossless": True}),
        "edges": ("siren", maps, {"max_error": 10.0, "effort": 0}),
        "smooth": ("siren", style, {"max_error": 0.5, "effort": 0}),
        "cosines": ("siren", np.concatenate([styles, styles[:, ::-1]]), {"psnr": 38.0, "effort": 0}),
        "cosines-residual": ("siren", np.rint(styles[:2]).astype(">i2"), {"max_error": 12.0, "effort": 3}),
        "smooth-exact": ("siren", style, {"lossless": True}),
        "residual": ("siren", style, {"max_error": 100.0, "effort": 2}),
        "tiles-of-latents": ("warp", wide, {"latent_only": True, "effort": 0}),
        "tiles": ("siren", np.tile(wide, (4, 4))[:280, :600], {"max_error": 50.0, "effort": 0}),
        "axis": ("siren", maps.transpose(1, 0, 2)[:40], {"lossless": True, "axis": 1}),
        "lossless-big-endian-f8": ("siren", maps[0, :20, :30].astype(">f8"), {"lossless": True}),
        "lossless-i2": ("siren", synth.generate("CurveVel_B", 4)[:, None].astype("<i2"), {"lossless": True}),
    }


def archive_of(files: dict[str, Any], path: Path, options: dict[str, Any]) -> None:
    """Write files, and an archive of them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, maps in files.items():
            (Path(folder) / name).parent.mkdir()
            np.save(Path(folder) / name, maps)
        found = find_shards([folder])
        archiving.archive(found, path, archiving.Options(Request(**options), device="cpu"), workers=1)


@contextmanager
def residual_alone() -> Iterator[None]:
    """With these codebooks a latent and a residual are never the cheapest: take the other modes away."""
    names = ("as_layers", "as_soft", "as_quantised", "as_cosines", "as_zstd")
    kept = {name: getattr(modes, name) for name in names}
    for name in names:
        setattr(modes, name, lambda maps, *rest, **more: modes.nothing(len(maps)))
    worth, encoder.WORTH = encoder.WORTH, 1e9
    try:
        yield
    finally:
        for name in names:
            setattr(modes, name, kept[name])
        encoder.WORTH = worth


ONLY = {"residual": residual_alone}


def main() -> None:
    """Write what is not there yet."""
    folder = HERE / f"v{velcodec.__version__}"
    folder.mkdir(exist_ok=True)
    for family in DECODERS:
        codebook.save(tiny_codebook(family), folder / f"{family}.safetensors", overwrite=True)
    wanted = sys.argv[1:]
    for name, (family, array, options) in cases().items():
        if wanted and name not in wanted:
            continue
        path = folder / f"{name}.vlz"
        if path.exists():
            print(f"kept {path.name}")
            continue
        own = {"codebook": str(folder / f"{family}.safetensors"), "embed_codebook": "always"}
        if isinstance(array, dict):
            archive_of(array, path, options)
        else:
            with ONLY.get(name, nullcontext)():
                velcodec.compress(array, path, device="cpu", **options, **({} if family == DEFAULT else own))
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
                sources=np.array(json.dumps([source.to_json() for source in archive.sources])),
            )
        print(f"wrote {path.name}, {path.stat().st_size} bytes")
    for family in DECODERS:
        (folder / f"{family}.safetensors").unlink()


if __name__ == "__main__":
    main()
