"""Writes the code files that every version, and every other implementation, reads alike (docs/conformance.md).

    python scripts/write_vectors.py             the shipped models' vectors anew; needed when their weights change
    python scripts/write_vectors.py --format    the format's, made with no model: once and for all

A vector is a .sqc file in tests/vectors/files and an entry of format.json or models.json beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import sqcodec
from sqcodec import container
from sqcodec.container import CodeHeader, ContainerError
from sqcodec.entropy import BlockWriter, Predictor
from sqcodec.files import write_atomically

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests/vectors/files"
PREDICTORS = ROOT / "tests/vectors/compact"
SPEECH = ROOT / "tests/data/nl_rhasspy_628.flac"
MODELS = ("speech-1k", "speech-3k")
SECONDS = 1.5


def digest(array: np.ndarray) -> str:
    """sha256 (hex) of tokens [C, N] as little-endian int64, row after row."""
    return hashlib.sha256(np.ascontiguousarray(array, "<i8").tobytes()).hexdigest()


def describe(data: bytes, header: CodeHeader, tokens: np.ndarray, **more: Any) -> dict[str, Any]:
    """The entry of a code file."""
    return {
        "bytes": len(data), "version": data[4], "payload": header.payload_kind, "model": header.model,
        "hash": header.weights_hash, "sample_rate": header.sample_rate,
        "original_sample_rate": header.original_sample_rate, "samples": header.num_samples,
        "channels": header.num_channels, "tokens": header.num_tokens, "codebook_size": header.codebook_size,
        "levels": list(header.levels) if header.levels else None, "bits": header.bits,
        "tokens_sha256": digest(tokens),
    } | more  # fmt: skip


def write(name: str, data: bytes) -> None:
    write_atomically(FOLDER / name, data)


def write_format() -> dict[str, Any]:
    """Files of every version and payload of random tokens, and files that a reader refuses."""
    rng, entries = np.random.default_rng(5), {}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "levels": ("levels", {"codebook_size": 105, "levels": (7, 5, 3)}),
        "codebook": ("", {"codebook_size": 1000}),
        "large": ("", {"codebook_size": 2**63}),
        "bits9": ("bits", {"codebook_size": 2**9, "bits_range": (4, 9), "hop_length": 96}),
        "bits4": ("bits", {"codebook_size": 2**4, "bits_range": (4, 9), "hop_length": 96}),
    }
    finest = rng.integers(0, 2**9, (2, 400)) & rng.integers(0, 2**9, (2, 400))
    for name, (used, fields) in kinds.items():
        predictor = Predictor.load(PREDICTORS / f"{used}.safetensors") if used else None
        tokens = likely(predictor, fields) if used == "levels" else rng.integers(0, fields["codebook_size"], (1, 300))
        if used == "bits":
            tokens = finest >> 9 - (fields["codebook_size"].bit_length() - 1)
        channels, count = tokens.shape
        header = CodeHeader("vectors", "0123456789abcdef", 16000, 48000, 3 * 96 * count - 5, channels, count, **fields)
        for payload, given in (("fixed", None), ("compact", predictor)):
            if payload == "compact" and given is None:
                continue
            data = container.dumps(header, tokens, given)
            if payload == "compact" and data[5] != container.PAYLOAD_ENTROPY:  # as it would be larger
                writer = BlockWriter(predictor, channels, header.codebook_size, header.levels, 128)
                writer.push(tokens)
                data = container.join(replace(header, payload_kind=1), writer.flush())
            file = f"format-{name}-{payload}.sqc"
            write(file, data)
            entries[file] = describe(data, container.loads_header(data), tokens, predictor=used or None)
    good = (FOLDER / "format-levels-compact.sqc").read_bytes()
    bad = {
        "cut": good[:-9], "longer": good + b"\0", "header": good[:9] + b"\1" + good[10:], "magic": b"RIFF" + good[4:],
        "payload": good[:-8] + bytes([good[-8] ^ 1]) + good[-7:], "version": good[:4] + b"\x09" + good[5:],
    }  # fmt: skip
    for name, data in bad.items():
        write(f"refused-{name}.sqc", data)
        entries[f"refused-{name}.sqc"] = {"bytes": len(data), "refused": refusal(data)}
    return entries


def likely(predictor: Predictor | None, fields: dict[str, Any]) -> np.ndarray:
    """Tokens [1, 300] that a predictor expects, so that they take less space."""
    from sqcodec.entropy.predictor import Runner
    from sqcodec.entropy.symbols import join

    assert predictor is not None
    runner = Runner(predictor, len(fields["levels"]), 1)
    rows = [runner.decode(lambda found: found.index(max(found))) for _ in range(300)]
    return join(np.array(rows).swapaxes(0, 1), fields["levels"])


def refusal(data: bytes) -> str:
    try:
        container.open_tokens(data)
    except ContainerError as error:
        return str(error)
    raise AssertionError("a damaged file was read")


def write_models() -> dict[str, Any]:
    """Files of both models at three of their rates, with the audio that they decode to."""
    entries = {}
    for model in MODELS:
        codec = sqcodec.load(model)
        samples = sqcodec.audio.load(SPEECH, codec.sample_rate)[0].mean(axis=0)[: round(SECONDS * codec.sample_rate)]
        for bits in sorted({*codec.config.quantizer.bits}) or [None]:
            tokens = codec.encode(samples, bits=bits)
            decoded = codec.decode(tokens, len(samples), bits=bits)[0].numpy()
            stem = model + (f"-{bits}bits" if bits else "")
            soundfile.write(FOLDER / f"{stem}.flac", decoded, codec.sample_rate, "PCM_16")
            fields = {"codebook_size": codec.config.codes(bits), "levels": codec.levels}
            if bits:
                fields |= {"bits_range": codec.bits_range, "hop_length": codec.hop_length}
            header = CodeHeader(
                model, codec.weights_hash, codec.sample_rate, codec.sample_rate, len(samples), 1, tokens.shape[1],
                **fields,
            )  # fmt: skip
            for payload in ("fixed", "compact") if codec.has_predictor else ("fixed",):
                file = f"{stem}-{payload}.sqc"
                data = container.dumps(header, tokens.numpy(), codec.predictor if payload == "compact" else None)
                write(file, data)
                entries[file] = describe(data, container.loads_header(data), tokens.numpy(), audio=f"{stem}.flac")
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", action="store_true", help="the vectors of the format itself")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    name = "format" if arguments.format else "models"
    prefixes = ("format-", "refused-") if arguments.format else tuple(f"{model}-" for model in MODELS)
    for path in FOLDER.iterdir():
        if path.name.startswith(prefixes) or not arguments.format and path.suffix == ".flac":
            path.unlink()
    entries = write_format() if arguments.format else write_models()
    write_atomically(FOLDER / f"{name}.json", json.dumps(entries, indent=1).encode() + b"\n")
    print(f"{FOLDER}: {len(entries)} files, {name}.json")


if __name__ == "__main__":
    main()
