"""One direction: cli -> archive -> encoder, decoder -> stages -> errors. The imports are read and held to it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What a module of the library may import of it. A module not listed fails, so that a new one is placed with thought.
MAY = {
    "errors": set(),
    "optim": set(),
    "compiled": set(),
    "amortised": set(),
    "prior": {"errors"},
    "grid": {"errors"},
    "header": {"container", "errors", "tiles"},
    "tiles": {"grid"},
    "waveform": {"errors"},
    "request": {"errors"},
    "adaptive": {"compiled", "errors"},
    "border": {"compiled"},
    "edges": {"adaptive", "border", "compiled"},
    "smooth": {"adaptive", "border", "compiled"},
    "spectrum": {"grid"},
    "spectrum_coder": {"adaptive", "border", "compiled", "smooth", "spectrum"},
    "spectrum_fit": {"border", "compiled", "spectrum"},
    "parts": {"adaptive", "border", "compiled"},
    "pixels": {"adaptive", "border", "edges", "parts", "smooth"},
    "layer_models": {"adaptive", "compiled"},
    "repeated": {"compiled"},
    "layers": {"adaptive", "compiled", "layer_models", "repeated", "residual"},
    "interfaces": {"layers"},
    "soft": {"compiled", "interfaces", "layers"},
    "soft_fit": {"compiled", "layers", "soft"},
    "exact": {"border", "parts", "pixels"},
    "residual": {"border", "compiled"},
    "container": {"errors"},
    "footer": {"adaptive", "container", "errors"},
    "replacing": {"errors"},
    "kept": set(),
    "storage": {"errors"},
    "remote": {"errors", "storage"},
    "carried": {"errors", "storage"},
    "places": {"carried", "remote", "sources", "storage"},
    "hdf5": {"__version__", "carried", "container", "errors", "places", "replacing", "sources", "stored"},
    "stored": {"blocks", "container", "errors", "footer", "header", "manifest", "storage"},
    "summary": {"container", "decoder", "footer", "quality", "stored"},
    "blocks": {"adaptive", "container", "errors"},
    "quality": {"container"},
    "device": {"errors"},
    "metrics": {"errors"},
    "sources": {"errors", "replacing"},
    "synth": {"errors"},
    "quantise": {"prior"},
    "entropy": {"errors", "prior"},
    "decoders": {"errors"},
    "codebook": {"amortised", "decoders", "entropy", "errors", "prior", "replacing"},
    "synthesis": {"codebook", "decoders", "device", "grid"},
    "aim": set(),
    "target": {"aim", "codebook", "decoders", "grid"},
    "cosine_fit": {"aim", "codebook", "decoders", "grid", "target"},
    "told": {"compiled", "decoders", "grid", "prior"},
    "layered_search": {"compiled", "decoders", "told"},
    "curves": {"compiled", "decoders"},
    "layered_fit": {"curves", "decoders", "layered_search", "layers", "told"},
    "faults": {"compiled", "decoders", "grid"},
    "stacks": {"compiled", "curves", "told"},
    "slips": {"compiled", "decoders", "faulted_drawing", "faulted_search", "told"},
    "slip_layers": {"compiled", "decoders", "faulted_drawing", "slips", "stacks", "told"},
    "slip_growth": {"decoders", "fault_lines", "faults", "slip_layers"},
    "fault_lines": {"compiled", "decoders", "faults", "grid"},
    "unfaulted": {"compiled", "faults", "told"},
    "fault_growth": {"decoders", "fault_lines", "faults", "slip_growth", "unfaulted"},
    "faulted_drawing": {"compiled", "decoders"},
    "faulted_search": {"compiled", "decoders", "faulted_drawing", "told"},
    "patches": {"compiled", "decoders", "faulted_drawing"},
    "plateaus": {"decoders"},
    "faulted_fit": {
        "compiled", "curves", "decoders", "fault_growth", "faulted_drawing", "faulted_search", "faults", "grid",
        "patches", "plateaus", "slip_growth", "slips", "stacks", "told",
    },
    "told_fit": {"aim", "codebook", "target", "told"},
    "fit": {
        "aim", "codebook", "cosine_fit", "decoders", "device", "faulted_fit", "layered_fit", "quantise", "target",
        "told_fit",
    },
    "tables": {"prior"},
    "cosine_tables": {"decoders", "grid", "prior", "tables"},
    "told_tables": {"aim", "prior", "tables", "told"},
    "layered_tables": {"decoders", "layered_fit", "layered_search", "told_tables"},
    "slip_tables": {"decoders", "tables", "told_tables"},
    "patch_tables": {"aim", "decoders", "faulted_fit", "patches", "slip_tables", "tables", "told_tables"},
    "faulted_tables": {"decoders", "faulted_fit", "patch_tables", "slip_tables", "tables", "told_tables"},
    "choice_book": {
        "codebook", "cosine_tables", "decoders", "faulted_tables", "layered_tables", "prior", "tables",
        "told_tables",
    },
    "field": {"codebook", "errors", "header", "spectrum"},
    "decoder": {
        "blocks", "codebook", "container", "device", "entropy", "errors", "exact", "grid", "header", "interfaces",
        "layers", "pixels", "quantise", "residual", "soft", "spectrum", "spectrum_coder", "synthesis",
    },
    "modes": {
        "codebook", "container", "decoder", "exact", "fit", "grid", "header", "layers", "pixels", "quantise",
        "request", "residual", "soft", "soft_fit", "spectrum", "spectrum_coder", "spectrum_fit", "synthesis",
    },
    "encoder": {
        "blocks", "codebook", "container", "decoder", "entropy", "errors", "exact", "header", "layers",
        "modes", "plateaus",
        "pixels", "spectrum_coder",
        "request",
    },
    "archive": {
        "codebook", "container", "decoder", "device", "errors", "field", "footer", "grid", "header", "manifest",
        "kept", "places", "residual", "spectrum", "stored", "summary",
    },
    "latent_path": {"archive", "decoders", "device", "errors", "grid", "synthesis"},
    "writer": {
        "codebook", "container", "encoder", "errors", "footer", "header", "manifest", "quality", "replacing",
        "sources",
    },
    "compression": {
        "archive", "codebook", "container", "device", "encoder", "errors", "grid", "header", "modes", "request",
        "sources", "tiles", "writer",
    },
    "estimate": {"archiving", "compression", "shards", "sources", "workers"},
    "manifest": {"container", "errors"},
    "shards": {"errors", "manifest", "sources"},
    "joining": {"archive", "codebook", "errors", "header", "manifest", "writer"},
    "repair": {
        "archive", "blocks", "codebook", "container", "encoder", "errors", "header", "manifest", "writer",
    },
    "workers": {"device", "errors"},
    "cluster": {"__version__", "errors"},
    "archiving": {
        "__version__", "archive", "cluster", "codebook", "compression", "device", "errors", "header", "joining",
        "manifest", "request", "shards", "sources", "workers", "writer",
    },
    "parallel": {"device", "errors"},
    "training_data": {"errors", "synth"},
    "objectives": {
        "amortised", "codebook", "decoders", "device", "errors", "grid", "optim", "synth", "training_data",
    },
    "train": {"device", "errors", "grid", "objectives", "parallel", "replacing", "training_data"},
    "release": {
        "__version__", "choice_book", "codebook", "fit", "grid", "objectives", "prior", "quantise", "synth",
        "synthesis", "tables", "training_data",
    },
    "shared": {"archive", "device"},
    "dataset": {"archive", "errors", "manifest", "places", "shared"},
    "chunks": {"archive", "compression", "errors", "header", "request"},
    "zarr_codec": {"chunks"},
    "numcodecs_codec": {"chunks", "errors"},
    "xarray_backend": {"archive", "errors"},
    "__init__": {"archive", "codebook", "compression", "dataset", "errors", "field", "latent_path"},
}  # fmt: skip


def imports(path: Path, package: str) -> set[str]:
    """Modules of the library that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level and package == "velcodec":
                # from . import a, b    from .a import b    (from .. in a sub-package)
                names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
                found.update(names)
            elif (node.module or "").startswith("velcodec."):
                found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found.update(a.name.split(".")[1] for a in node.names if a.name.startswith("velcodec."))
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "velcodec").glob("*.py")), ids=lambda p: p.stem)
def test_imports_point_one_way(path: Path) -> None:
    assert imports(path, "velcodec") <= MAY[path.stem]


def test_modes_know_what_their_package_may_and_each_other() -> None:
    paths = list((ROOT / "velcodec" / "modes").glob("*.py"))
    for path in paths:
        assert imports(path, "velcodec") <= MAY["modes"] | {p.stem for p in paths}


def test_decoders_know_errors_processors_and_each_other_only() -> None:
    for path in (ROOT / "velcodec" / "decoders").glob("*.py"):
        assert imports(path, "velcodec") <= {
            "choice",
            "compiled",
            "cosines",
            "device",
            "errors",
            "faulted",
            "layered",
            "sine_layers",
            "siren",
            "trapezia",
            "warp",
        }


def test_the_container_knows_no_torch() -> None:
    for name in ("container", "blocks", "quality", "header", "grid", "errors", "metrics", "sources", "synth"):
        assert "torch" not in (ROOT / "velcodec" / f"{name}.py").read_text().replace(
            "knows no torch", ""
        ).replace("Knows no torch", "")


def test_the_library_never_imports_the_command_line() -> None:
    for path in (ROOT / "velcodec").rglob("*.py"):
        assert "velcodec_cli" not in path.read_text()


def test_nothing_unpickles() -> None:
    for folder in ("velcodec", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            code = path.read_text()
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.Import):
                    assert not {a.name for a in node.names} & {"pickle", "dill", "joblib", "shelve"}
                if isinstance(node, ast.Call):
                    call = ast.unparse(node)
                    assert not call.startswith("torch.load(") or "weights_only=True" in call, (
                        f"{path}: {call}"
                    )
                    assert "allow_pickle=True" not in call, f"{path}: {call}"
