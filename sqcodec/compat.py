"""The authors' published models in our terms: five `.pt` files and a TOML to (WaveformConfig, state dict).

The only place that knows the names inside the packages `sq-codec` 0.0.1 and `l3ac` 1.0 ("One Quantizer is
Enough", arXiv 2504.04949). Files are read with `weights_only=True`: nothing in them is executed.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sqcodec.checkpoint import check_finite
from sqcodec.config import (
    DecoderConfig,
    EncoderConfig,
    FSQConfig,
    TransformerConfig,
    UnitConfig,
    WaveformConfig,
    published_config,
    published_names,
)
from sqcodec.nn.fitting import outline
from sqcodec.tables import read_toml

PARTS = ("encoder", "quantizer", "decoder", "en_encoder", "en_decoder")
"""The authors' five files, `<part>.pt`."""

HEADS = 6
EPSILON = {"sqcodec": 2.0**-23, "l3ac": 1e-8}
QUANTIZERS: dict[str, tuple[Literal["sqcodec", "l3ac"], str]] = {
    "taae_fsq": ("sqcodec", "codebook_dim"),
    "super_fsq": ("l3ac", "levels"),
}
"""Their quantizer's name to the family and to the key that holds its levels."""

NORM_GAIN = "parametrizations.weight.original0"
NORM_DIRECTION = "parametrizations.weight.original1"

NETWORK_DEFAULTS: dict[str, Any] = {
    "base_unit": "normal",
    "use_norm": True,
    "use_snake_act": True,
    "decoder_last_layer": None,
    "en_coder_depth": 2,
    "en_coder_window_size": 500,
    "en_coder_dynamic_pos": False,
    "en_coder_compress_rate": 1,
    "en_coder_cache_size": 0,
}
NETWORK_KEYS = (
    "feature_dim",
    "compress_rates",
    "encoder_dims",
    "encoder_depths",
    "decode_rates",
    "decoder_dims",
    "decoder_depths",
    "vq_config",
)


def load_published(
    source: str | Path | Iterable[str | Path],
    config_path: str | Path | None = None,
    *,
    fold: bool = True,
) -> tuple[WaveformConfig, dict[str, Tensor]]:
    """Read a published model.

    Args:
        source: the folder with the five `.pt` files, or a list of files: the five, perhaps a `.toml`.
        config_path: the authors' TOML, or the name of a published configuration such as "l3ac-3kbps". None:
            the one `.toml` in `source`, or else the published configuration that the folder is named after
            ("3kbps.v1" is L3AC's, "3kbps.v0" SQCodec's).
        fold: fold weight norm and the affine "GRN" into the weights, in float64: faster, and the same
            function. False keeps both, to train on as the authors did.

    Returns:
        The configuration, and the tensors that `WaveformNetwork(configuration).load_state_dict` takes.

    Raises:
        FileNotFoundError, ValueError: a file is missing or unreadable, or a tensor is missing, unexpected or
            of the wrong shape; the message names it.
    """
    files, tomls, folder = _list_files(source)
    config = _find_config(config_path, tomls, folder)
    return convert({part: _read_part(files[part]) for part in PARTS}, config, fold=fold)


def convert(
    parts: Mapping[str, Mapping[str, Tensor]], config: WaveformConfig, *, fold: bool = True
) -> tuple[WaveformConfig, dict[str, Tensor]]:
    """The authors' five state dicts, by part, to our configuration and state dict; see `load_published`."""
    theirs = {f"{part}.{name}": tensor for part in PARTS for name, tensor in parts[part].items()}
    theirs.pop("en_encoder.cache_token", None)  # always of 0 tokens in what is published
    wanted = outline(config).state_dict()
    state: dict[str, Tensor] = {}
    names = {ours: _their_name(ours, config) for ours in wanted}
    for ours, name in names.items():
        if name not in theirs:
            raise ValueError(f"Tensor {_describe(name)} is missing for {config.name or 'the configuration'}")
        state[ours] = _reshape(theirs[name], wanted[ours], name)
    unexpected = sorted(set(theirs) - set(names.values()))
    if unexpected:
        raise ValueError(
            f"Tensor {_describe(unexpected[0])} is not expected for {config.name or 'the configuration'}"
            + (f", nor are {len(unexpected) - 1} others" if len(unexpected) > 1 else "")
        )
    return fold_norms(config, state) if fold else (config, state)


def fold_norms(config: WaveformConfig, state: dict[str, Tensor]) -> tuple[WaveformConfig, dict[str, Tensor]]:
    """The same function with weight norm and `ResponseScale` folded into plain weights.

    In float64: then the rounded result, and so the hash of the weights, is the same on every processor.
    """
    folded = dict(state)
    for name in state:
        if name.endswith(NORM_GAIN):
            prefix = name.removesuffix(NORM_GAIN)
            gain, direction = (folded.pop(prefix + key).double() for key in (NORM_GAIN, NORM_DIRECTION))
            length = direction.flatten(1).norm(dim=1).view(gain.shape)
            folded[prefix + "weight"] = direction * (gain / length)
    for name in state:
        if name.endswith("response.gamma"):
            prefix = name.removesuffix("response.gamma")
            gamma, beta = (folded.pop(f"{prefix}response.{key}").double() for key in ("gamma", "beta"))
            weight = folded[prefix + "contract.weight"].double()
            folded[prefix + "contract.bias"] = folded[prefix + "contract.bias"].double() + weight @ beta
            folded[prefix + "contract.weight"] = weight * (1 + gamma)
    replace = dataclasses.replace
    encoder, decoder = (
        replace(side, unit=replace(side.unit, weight_norm=False, grn=False))
        for side in (config.encoder, config.decoder)
    )
    config = replace(config, encoder=encoder, decoder=decoder)
    return config, {name: tensor.float().contiguous() for name, tensor in folded.items()}


def read_config(path: str | Path) -> WaveformConfig:
    """The authors' TOML as a WaveformConfig; a key that this cannot express is a ValueError."""
    values = read_toml(path)
    if "network_config" not in values:
        raise ValueError(f"{path} has no [network_config]: it is not a TOML of sq-codec or l3ac")
    return translate_config(values, str(path))


def translate_config(values: Mapping[str, Any], where: str = "the configuration") -> WaveformConfig:
    """The tables of the authors' TOML as a WaveformConfig."""
    network = NETWORK_DEFAULTS | dict(values["network_config"])
    for key in NETWORK_KEYS:
        if key not in network:
            raise ValueError(f"{key!r} is missing in [network_config] of {where}")
    for key in network:
        if key not in NETWORK_DEFAULTS and key not in NETWORK_KEYS:
            raise ValueError(f"Unknown key {key!r} in [network_config] of {where}")
    quantizer = dict(network["vq_config"])
    for table, key, value in (
        (network, "base_unit", "normal"),
        (network, "decoder_last_layer", "legacy"),
        (network, "en_coder_cache_size", 0),
        (quantizer, "codebook_num", 1),
    ):
        if table.get(key, value) != value:
            raise ValueError(f"{key} is {table[key]!r} in {where}: only {value!r} is supported")
    kind = quantizer.get("name")
    if kind not in QUANTIZERS:
        raise ValueError(f"Quantizer {kind!r} in {where} is not one of: {', '.join(QUANTIZERS)}")
    family, levels_key = QUANTIZERS[kind]
    name = f"{family}-{values['model_name']}" if "model_name" in values else ""
    sample_rate = values.get("sample_rate", 16000)
    if name == "sqcodec-12kbps_24khz":
        sample_rate = 24000  # their TOML says 16000: a slip
    unit = UnitConfig(
        norm=network["use_norm"],
        grn=True,
        activation="snake" if network["use_snake_act"] else "gelu",
        weight_norm=True,
        epsilon=EPSILON[family],
    )
    return WaveformConfig(
        name=name,
        sample_rate=sample_rate,
        feature_dim=network["feature_dim"],
        causal=False,
        pad_to="window" if family == "sqcodec" else "hop",
        encoder=EncoderConfig(
            dims=network["encoder_dims"],
            strides=network["compress_rates"],
            depths=network["encoder_depths"],
            unit=unit,
        ),
        transformer=_translate_transformer(network, family),
        quantizer=FSQConfig(
            levels=quantizer[levels_key],
            variant=family,
            noise_rate=quantizer.get("noise_rate", 0.5),
        ),
        decoder=DecoderConfig(
            dims=network["decoder_dims"],
            strides=network["decode_rates"],
            depths=network["decoder_depths"],
            gate_norm=True,
            unit=unit,
        ),
    )


def _translate_transformer(network: Mapping[str, Any], family: str) -> TransformerConfig:
    """SQCodec has the same depth on both sides, 2 layers of it at the frame rate where that differs from
    the token rate. L3AC fixes its encoder: 1 layer, or 1 at the frame rate and 2 at the token rate."""
    rate, depth = network["en_coder_compress_rate"], network["en_coder_depth"]
    decoder_frames = 2 if rate > 1 else 0
    if family == "sqcodec":
        encoder_depth, encoder_frames = depth - decoder_frames, decoder_frames
    else:
        encoder_depth, encoder_frames = (2, 1) if rate > 1 else (1, 0)
    return TransformerConfig(
        encoder_depth=encoder_depth,
        decoder_depth=depth - decoder_frames,
        encoder_frame_depth=encoder_frames,
        decoder_frame_depth=decoder_frames,
        rate_reduction=rate,
        window=network["en_coder_window_size"],
        heads=HEADS,
        head_dim=network["feature_dim"] // 4,
        position="dynamic_bias" if network["en_coder_dynamic_pos"] else "rotary",
        exact_window=False,
    )


def _their_name(name: str, config: WaveformConfig) -> str:
    """Our tensor's name to theirs, with the part in front: "encoder.blocks.1.0.module.dw_conv.bias"."""
    part, rest = name.split(".", 1)
    if part in ("encoder", "decoder"):
        side, rules = (config.encoder, ENCODER_NAMES) if part == "encoder" else (config.decoder, DECODER_NAMES)
        for pattern, rename in rules:
            if match := re.fullmatch(pattern, rest):
                return f"{part}.{rename(match, len(side.strides))}"
    if part == "quantizer":
        return name
    return _their_transformer_name(part, rest)


def _their_units(block: int, name: str) -> str:
    unit, layer, rest = name.split(".", 2)
    return f"blocks.{block}.{unit}.module.{UNIT_NAMES[layer]}.{rest}"


UNIT_NAMES = {
    "depthwise": "dw_conv",
    "norm": "norm",
    "expand": "pw_conv1",
    "activation": "act",
    "response": "grn",
    "contract": "pw_conv2",
}
HEAD_UNIT_NAMES = {"first_snake": "0", "dilated": "1", "second_snake": "2", "pointwise": "3"}

Rules = tuple[tuple[str, Callable[[re.Match[str], int], str]], ...]
"""Pattern of our names, and theirs of a match and the number of stages."""
ENCODER_NAMES: Rules = (
    (r"front\.trends\.branches\.(\d+)\.(.*)", lambda m, n: f"blocks.0.blocks.{m[1]}.1.{m[2]}"),
    (r"front\.expand(.*)", lambda m, n: f"blocks.0.conv_1{m[1]}"),
    (r"front\.merge(.*)", lambda m, n: f"blocks.0.conv_2{m[1]}"),
    (r"stages\.(\d+)\.units\.(.*)", lambda m, n: _their_units(2 * int(m[1]) + 1, m[2])),
    (r"stages\.(\d+)\.down\.(.*)", lambda m, n: f"blocks.{2 * int(m[1]) + 2}.0.{m[2]}"),
    (r"stages\.(\d+)\.norm\.(.*)", lambda m, n: f"blocks.{2 * int(m[1]) + 2}.1.{m[2]}"),
    (r"units\.(.*)", lambda m, n: _their_units(2 * n + 1, m[1])),
    (r"project(.*)", lambda m, n: f"blocks.{2 * n + 2}{m[1]}"),
)
DECODER_NAMES: Rules = (
    (r"project(.*)", lambda m, n: f"blocks.0{m[1]}"),
    (r"stages\.(\d+)\.units\.(.*)", lambda m, n: _their_units(3 * int(m[1]) + 1, m[2])),
    (
        r"stages\.(\d+)\.gate\.trends\.branches\.(\d+)\.(.*)",
        lambda m, n: f"blocks.{3 * int(m[1]) + 2}.blocks.{m[2]}.1.{m[3]}",
    ),
    (r"stages\.(\d+)\.gate\.norm\.(.*)", lambda m, n: f"blocks.{3 * int(m[1]) + 2}.merge_layer.0.{m[2]}"),
    (r"stages\.(\d+)\.gate\.merge\.(.*)", lambda m, n: f"blocks.{3 * int(m[1]) + 2}.merge_layer.1.{m[2]}"),
    (r"stages\.(\d+)\.gate\.(.*)", lambda m, n: f"blocks.{3 * int(m[1]) + 2}.{m[2]}"),
    (r"stages\.(\d+)\.up\.(.*)", lambda m, n: f"blocks.{3 * int(m[1]) + 3}.0.{m[2]}"),
    (r"stages\.(\d+)\.norm\.(.*)", lambda m, n: f"blocks.{3 * int(m[1]) + 3}.2.{m[2]}"),
    (
        r"head\.units\.(\d+)\.(\w+)\.(.*)",
        lambda m, n: f"blocks.{3 * n + 1}.block.0.{m[1]}.module.block.{HEAD_UNIT_NAMES[m[2]]}.{m[3]}",
    ),
    (r"head\.snake(.*)", lambda m, n: f"blocks.{3 * n + 1}.block.1{m[1]}"),
    (r"head\.project(.*)", lambda m, n: f"blocks.{3 * n + 1}.block.2{m[1]}"),
)


def _their_transformer_name(part: str, name: str) -> str:
    side = "en_encoder" if part == "encoder_transformer" else "en_decoder"
    stack, rest = name.split(".", 1)
    if stack == "reduce":
        return f"{side}.down_trans.down_layer.{rest}"
    rest = re.sub(r"^position\.bias\.layers\.", "dynamic_pos_bias.mlp.", rest)
    rest = re.sub(r"^attentions\.(\d+)\.", r"layers.\1.0.", rest)
    for ours, theirs in (("norm", 0), ("expand", 1), ("contract", 4)):
        rest = re.sub(rf"^feed_forwards\.(\d+)\.{ours}\.", rf"layers.\1.1.{theirs}.", rest)
    if stack == "frames":
        return f"{side}.{'down' if side == 'en_encoder' else 'up'}_trans.trans.{rest}"
    return f"{side}.local_trans.{rest}"


def _reshape(tensor: Tensor, like: Tensor, name: str) -> Tensor:
    """Their tensor in our shape: theirs may have extra dimensions of 1, as Snake's [1, C, 1]."""
    squeezed = [size for size in tensor.shape if size != 1]
    if squeezed != [size for size in like.shape if size != 1]:
        raise ValueError(
            f"Tensor {_describe(name)} has shape {tuple(tensor.shape)}: {tuple(like.shape)} is needed"
        )
    return tensor.detach().reshape(like.shape).to(like.dtype).contiguous()


def _describe(name: str) -> str:
    part, rest = name.split(".", 1)
    return f"{rest!r} of {part}.pt"


def _list_files(source: str | Path | Iterable[str | Path]) -> tuple[dict[str, Path], list[Path], Path]:
    """The file of each part, the TOML files beside them, and the folder they are in."""
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(path) for path in source]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    found = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files: dict[str, Path] = {}
    for file in found:
        if file.suffix == ".pt" and file.stem in PARTS:
            if file.stem in files:
                raise ValueError(f"Two files for the same part: {files[file.stem]} and {file}")
            files[file.stem] = file
    missing = [f"{part}.pt" for part in PARTS if part not in files]
    if missing:
        raise FileNotFoundError(
            f"{', '.join(missing)} missing in {', '.join(map(str, paths))}: "
            f"a published model has {', '.join(f'{part}.pt' for part in PARTS)}"
        )
    return files, [file for file in found if file.suffix == ".toml"], files["encoder"].absolute().parent


def _find_config(config_path: str | Path | None, tomls: list[Path], folder: Path) -> WaveformConfig:
    if isinstance(config_path, str) and config_path in published_names():
        return published_config(config_path)
    if config_path is None and len(tomls) == 1:
        config_path = tomls[0]
    if config_path is not None:
        if not Path(config_path).is_file():
            raise FileNotFoundError(
                f"Configuration {config_path} is neither a file nor one of: {', '.join(published_names())}"
            )
        return read_config(config_path)
    name, _, version = folder.name.rpartition(".")
    published = {"v0": "sqcodec", "v1": "l3ac"}.get(version, "") + f"-{name}"
    if tomls or published not in published_names():
        raise ValueError(
            f"Say which configuration {folder} has: give the authors' TOML file, or one of: "
            + ", ".join(published_names())
        )
    return published_config(published)


def _read_part(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pt` file that anybody may have made: in its own memory, of no more than the file's bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            inflated = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is not a PyTorch file of tensors: it is damaged, or no zip archive") from error
    if inflated > path.stat().st_size:
        raise ValueError(f"{path} is not a PyTorch file of tensors: it is compressed, which PyTorch's are not")
    try:
        # mapped, so that a storage that claims more than the file has ends where the file does
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of a damaged file asks for an issue at its own
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(state, dict) or not all(
            type(name) is str and type(tensor) in (Tensor, nn.Parameter) for name, tensor in state.items()
        ):
            raise ValueError(f"{path} does not hold a dictionary of named tensors")
        for name, tensor in state.items():
            if tensor.is_complex() or tensor.is_quantized or tensor.layout is not torch.strided:
                raise ValueError(f"{path}: {name!r} is not a plain tensor of real numbers, but {tensor.dtype}")
            if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
                raise ValueError(f"{path}: {name!r} has more elements than the file")
        found = {name: tensor.detach().clone() for name, tensor in state.items()}
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise _unreadable(path) from error
    except Exception as error:  # what is raised for a damaged pickle depends on the byte
        raise _unreadable(path) from error
    check_finite(found, path)
    return found


def _unreadable(path: Path) -> ValueError:
    return ValueError(
        f"{path} is not a PyTorch file of tensors: it is damaged, or holds something else, which was not run"
    )
