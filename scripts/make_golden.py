"""Write tests/golden/*.safetensors: tokens and waveforms of tiny networks built by the authors' packages.

Four networks of both families, with and without rate reduction, a few thousand weights each, with the
audio they coded; `tests/test_parity_golden.py` checks ours against them without the packages. Needs the
environment that `parity.py` describes:

    python scripts/make_golden.py tests/golden
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from pathlib import Path

import tomli_w
import torch
from parity import PACKAGES, calibrate, indices_of, randomise
from safetensors.torch import save_file
from torch import Tensor

from sqcodec.compat import PARTS

SAMPLES = 3203
NETWORK = {
    "feature_dim": 8,
    "encoder_dims": [4, 6, 8],
    "encoder_depths": [1, 1, 2],
    "decoder_dims": [10, 8, 4],
    "decoder_depths": [1, 2, 1],
    "base_unit": "normal",
    "use_norm": True,
    "use_snake_act": True,
    "decoder_last_layer": "legacy",
    "en_coder_dynamic_pos": True,
    "en_coder_cache_size": 0,
}
QUANTIZERS = {
    "sqcodec": {"name": "taae_fsq", "codebook_dim": [9, 7, 5, 8], "codebook_num": 1},
    "l3ac": {"name": "super_fsq", "levels": [9, 7, 5, 8], "noise_rate": 0.5},
}
CASES = {
    "rate1": {
        "compress_rates": [6, 5],
        "decode_rates": [5, 6],
        "en_coder_depth": 2,
        "en_coder_window_size": 12,
        "en_coder_compress_rate": 1,
    },
    "rate3": {
        "compress_rates": [4, 3],
        "decode_rates": [3, 4],
        "en_coder_depth": 4,
        "en_coder_window_size": 10,
        "en_coder_compress_rate": 3,
    },
}


def synthetic_audio() -> Tensor:
    """[1, T]: a chirp with a changing envelope, silence and noise bursts."""
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(SAMPLES) / 16000
    tone = torch.sin(2 * torch.pi * (150 * time + 4000 * time**2))
    bursts = torch.randn(SAMPLES, generator=generator) * (torch.sin(40 * time) > 0.3)
    envelope = torch.sin(25 * time).clamp_min(0)
    return (0.3 * envelope * tone + 0.05 * bursts).unsqueeze(0)


@torch.no_grad()
def make(family: str, case: str, folder: Path) -> Path:
    """Write one golden file."""
    package_name, class_name = PACKAGES[family]
    package = importlib.import_module(package_name)
    tables = {"network_config": NETWORK | CASES[case] | {"vq_config": QUANTIZERS[family]}}
    with tempfile.TemporaryDirectory() as temporary:
        toml = Path(temporary) / "tiny.toml"
        toml.write_text(tomli_w.dumps(tables | {"model_name": "tiny", "weight_url": ""}))
        config = getattr(package, f"{class_name}Config")(config_file=toml)
    codec = getattr(package, class_name)(config)
    samples = synthetic_audio()
    randomise(codec.network, seed=2)
    codec.network.eval()
    calibrate(codec, samples)
    tokens = indices_of(codec, samples)
    tensors = {
        f"{part}/{name}": tensor.contiguous()
        for part in PARTS
        for name, tensor in codec.network.trainable_modules[part].state_dict().items()
        if tensor.numel()
    }
    tensors |= {"samples": samples, "tokens": tokens, "waveform": codec.decode_audio(indices=tokens)}
    path = folder / f"{family}-{case}.safetensors"
    save_file(tensors, path, metadata={"tables": json.dumps(tables)})
    size, count, distinct = path.stat().st_size, tokens.numel(), tokens.unique().numel()
    print(f"{path.name}: {size} bytes, {count} tokens, {distinct} distinct")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for family in PACKAGES:
        for case in CASES:
            make(family, case, folder)


if __name__ == "__main__":
    main()
