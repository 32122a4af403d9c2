"""`sqcodec export`: a model for other runtimes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sqcodec.extras import require, require_all

from .options import add_options, check_new, load_codec


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "export",
        help="a model for other runtimes (ONNX, transformers)",
        description="Write encoder.onnx, decoder.onnx and model.json to a folder, and check them in ONNX Runtime "
        "against PyTorch. Each file takes any number of frames and the state of its layers, so the same two code "
        "whole recordings and live audio; examples/onnx_file.py does it with numpy alone. Needs the extra 'onnx'. "
        "transformers: a folder for AutoModel and AutoFeatureExtractor (docs/tokens.md); needs the extra 'lm'.",
        epilog="example: sqcodec export onnx speech-3k-onnx/",
    )
    parser.add_argument("format", choices=("onnx", "transformers"))
    parser.add_argument("folder", metavar="FOLDER", help="where to write")
    parser.add_argument("--int8", action="store_true", help="onnx: a decoder of 8-bit weights, small and fast")
    add_options(parser, "--model", "--force", "--json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export and check; exit status 1 where the check fails."""
    if arguments.format == "transformers":
        return _export_transformers(arguments)
    require_all(("onnx", "onnxruntime", *(("onnx_ir",) if arguments.int8 else ())), "onnx", "export onnx")
    from sqcodec.export.onnx import FILES, check_onnx, export_onnx

    folder = Path(arguments.folder)
    for name in FILES:
        check_new(folder / name, arguments.force)
    codec = load_codec(arguments.model, "cpu", None)
    export_onnx(codec, folder, arguments.int8)
    equal, difference = check_onnx(codec, folder)
    sizes = {name: (folder / name).stat().st_size for name in FILES}
    if arguments.json:
        print(json.dumps({"folder": str(folder), "bytes": sizes, "equal_tokens": equal, "difference": difference}))
    else:
        print(f"{folder}: {', '.join(f'{name} {size / 1e6:.1f} MB' for name, size in sizes.items())}")
        print(f"ONNX Runtime against PyTorch: {equal:.2%} of the tokens equal, samples within {difference:.1e}")
    if equal < 0.999 or difference > (0.1 if arguments.int8 else 1e-4):
        print("sqcodec export: the files do not compute what the model does", file=sys.stderr)
        return 1
    return 0


def _export_transformers(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.folder)
    check_new(folder / "config.json", arguments.force)
    require("transformers", "lm", "export transformers")
    from sqcodec.hf import SQCodecFeatureExtractor, SQCodecModel

    codec = load_codec(arguments.model, "cpu", None)
    SQCodecModel.from_codec(codec).save_pretrained(folder)
    SQCodecFeatureExtractor(codec.sample_rate).save_pretrained(folder)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    if arguments.json:
        print(json.dumps({"folder": str(folder), "bytes": files}))
    else:
        print(f"{folder}: {', '.join(files)}")
    return 0
