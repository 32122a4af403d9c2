"""`sqcodec info`: what a code file, an audio file or a model says about itself."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from .files import CODE_EXTENSION, PIPE
from .options import add_options
from .parser import describe, printable


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "info",
        help="what .sqc files, audio files and models are",
        description="Print what .sqc files (checked as a whole), audio files and models say of themselves.",
    )
    parser.add_argument("items", nargs="+", metavar="ITEM", help="a file, a model's name or folder, or -")
    add_options(parser, "--json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print all items; exit status."""
    failed = False
    for item in arguments.items:
        try:
            values = inspect(item)
        except (ValueError, OSError) as error:
            if os.environ.get("SQCODEC_DEBUG"):
                raise
            failed = True
            print(printable(f"sqcodec: error: {describe(error, item)}"), file=sys.stderr)
            continue
        if arguments.json:
            print(json.dumps(values))
        else:
            lines = _about_code(values) if "code_file" in values else values
            print(printable("\n".join(f"{name.replace('_', ' ')}: {_text(value)}" for name, value in lines.items())))
            print()
    return 1 if failed else 0


def inspect(item: str) -> dict[str, Any]:
    """What `item` is and says. Raises ValueError or OSError."""
    if item == PIPE:
        return {"code_file": "stdin", **_code(sys.stdin.buffer.read())}
    from sqcodec.audio import SUFFIXES

    path = Path(item)
    if path.is_file():
        from sqcodec import container

        with open(path, "rb") as file:
            is_code = file.read(len(container.MAGIC)) == container.MAGIC or path.suffix == ".sqc"
        if is_code:
            return {"code_file": item, **_code(path.read_bytes())}
        return {"audio_file": item, **_audio(path)}
    if path.exists() and not path.is_dir():
        raise ValueError(f"{item} is neither a file nor a folder")
    if not path.exists() and path.suffix.lower() in SUFFIXES | {CODE_EXTENSION}:
        raise FileNotFoundError(f"{item}: No such file")
    return _model(item)


def _code(data: bytes) -> dict[str, Any]:
    from sqcodec import container

    header, pieces = container.open_tokens(data)
    compact = header.payload_kind == container.PAYLOAD_ENTROPY
    if not compact:  # what else there is to check needs the predictor
        for _ in pieces:
            pass
    if header.rates and header.bits:
        nominal = header.rates.kbps(header.bits) * header.num_channels
    else:  # the header does not say how long a token lasts; the last one may reach beyond the end
        count = header.num_channels * header.num_tokens
        nominal = count * math.log2(header.codebook_size) / header.seconds / 1000
    return {
        "model": header.model,
        "weights_hash": header.weights_hash,
        "sample_rate": header.sample_rate,
        "original_sample_rate": header.original_sample_rate,
        "channels": header.num_channels,
        "seconds": header.seconds,
        "samples": header.num_samples,
        "tokens": header.num_tokens,
        "codebook_size": header.codebook_size,
        "levels": list(header.levels) if header.levels else None,
        **({"bits": header.bits, "rates": str(header.rates)} if header.rates else {}),
        "payload": "compact" if compact else "fixed rate",
        "bytes": len(data),
        "nominal_kbps": nominal,
        "fixed_rate_kbps": container.fixed_rate_size(header) * 8 / header.seconds / 1000,
        "actual_kbps": len(data) * 8 / header.seconds / 1000,
    }


def _about_code(values: dict[str, Any]) -> dict[str, str]:
    """What `_code` found, for people."""
    channels, levels, coded = values["channels"], values["levels"], values["sample_rate"]
    audio = f"{values['seconds']:.2f} s, {channels} channel{'s' * (channels > 1)}, {values['original_sample_rate']} Hz"
    size = f"{values['bits']} bits" if "bits" in values else f"{values['codebook_size']} codes"
    compact = values["payload"] == "compact"
    return {
        "file": values["code_file"],
        "model": f"{values['model']}, hash {values['weights_hash']}",
        "audio": audio + (f", coded at {coded} Hz" if coded != values["original_sample_rate"] else ""),
        "tokens": f"{f'{channels} x ' if channels > 1 else ''}{values['tokens']} of {size}"
        + (f", levels {_text(levels)}" if levels else ""),
        "payload": "compact, entropy coded with the model's predictor" if compact else "fixed rate",
        "nominal rate": f"{values['nominal_kbps']:.3f} kbit/s",
        "rate as stored": f"{values['actual_kbps']:.3f} kbit/s, {values['bytes']} bytes"
        + (f" ({values['fixed_rate_kbps']:.3f} kbit/s at a fixed rate)" if compact else ""),
        "rates of the model": values.get("rates", "one"),
    }


def _audio(path: Path) -> dict[str, Any]:
    from sqcodec import audio

    header = audio.info(path)
    return {
        "format": header.format,
        "subtype": header.subtype,
        "sample_rate": header.sample_rate,
        "channels": header.num_channels,
        "seconds": header.seconds,
        "samples": header.num_samples,
        "bytes": path.stat().st_size,
    }


def _model(name: str) -> dict[str, Any]:
    import sqcodec
    from sqcodec.checkpoint import training_progress

    codec = sqcodec.load(name)
    progress = codec.folder and training_progress(codec.folder)
    return {
        "model": codec.name,
        **(dict(zip(("steps_done", "steps"), progress, strict=True)) if progress else {}),
        "weights_hash": codec.weights_hash,
        "sample_rate": codec.sample_rate,
        "hop_length": codec.hop_length,
        "token_rate": codec.token_rate,
        "nominal_kbps": codec.bit_rate / 1000,
        "codebook_size": codec.codebook_size,
        "levels": list(codec.levels) if codec.levels else None,
        **({"bits": codec.default_bits, "rates": str(codec.config.rates)} if codec.rates else {}),
        "parameters": sum(parameter.numel() for parameter in codec.network.parameters()),
        "configuration": codec.config.to_dict(),
    }


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return "-" if value is None else str(value)
