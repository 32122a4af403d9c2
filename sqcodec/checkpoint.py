"""A model on disk: one folder with ``model.safetensors`` and ``config.toml``.

Everything is written under a temporary name, synced, then renamed: a crash leaves the previous version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sqcodec.config import CONFIG_NAME, SHIPPED_DIR, WEIGHTS_NAME, ModelConfig
from sqcodec.files import write_atomically
from sqcodec.identity import hash_model
from sqcodec.nn.fitting import Stored, check_fit, compare

MOST_HEADER_BYTES, MOST_CONFIG_BYTES = 2**22, 2**18
DTYPES = {
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "I64": torch.int64, "I32": torch.int32, "BOOL": torch.bool,
}  # fmt: skip
"""What the weights file may hold, by the name that safetensors gives it."""


def save_model(
    folder: str | Path, config: ModelConfig, state_dict: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> str:
    """Writes a model folder, the same bytes for the same model each time, and returns its hash (``hash_model``).

    Args:
        state_dict: tensors in the dtype to be stored (fp16 is fine: loading casts to float32).
        metadata: strings kept in the header of the weights file, such as the licence or the source.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    data = _ordered(safetensors.torch.save(tensors, metadata={"format": "pt", **(metadata or {})}))
    write_atomically(folder / CONFIG_NAME, config.to_toml().encode("utf-8"))
    write_atomically(folder / WEIGHTS_NAME, data)
    return hash_model(config, tensors)


def load_model(folder: str | Path) -> tuple[ModelConfig, dict[str, Tensor], dict[str, str]]:
    """(configuration, float32 tensors, metadata) of a model folder.

    Raises:
        FileNotFoundError: the folder lacks one of the two files (it is named).
        ValueError: a file is damaged, the configuration describes another network than the weights are of, or one that
            no computer should build; weights that are not finite. Nothing was allocated before that was known.
    """
    folder = Path(folder)
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"'{folder}' is not a model folder: it has no {name}.")
    config = _read_config(folder / CONFIG_NAME)
    path = folder / WEIGHTS_NAME
    try:
        with path.open("rb") as raw:
            if int.from_bytes(raw.read(8), "little") > MOST_HEADER_BYTES:
                raise ValueError(f"'{path}' is damaged: its header would have more than {MOST_HEADER_BYTES} bytes")
        with safetensors.safe_open(path, framework="pt") as file:
            metadata, names = dict(file.metadata() or {}), list(file.keys())
            # Building on the meta device imports PyTorch's compiler, a second; what ships needs no such look.
            if folder.resolve().parent != SHIPPED_DIR:
                check_fit(config, {name: _stored(file.get_slice(name), name) for name in names})
            tensors = {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise ValueError(f"'{path}' is damaged: {error}") from error
    except ValueError as error:
        raise ValueError(f"'{folder}': {error}") from error
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    check_finite(tensors, path)
    return config, tensors, metadata


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as models ship: floating point as fp16."""
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def check_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises ValueError that names the first tensor with NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"'{path}': the tensor '{name}' holds NaN or infinity: this is no usable model")


def _read_config(path: Path) -> ModelConfig:
    size = path.stat().st_size
    if size > MOST_CONFIG_BYTES:
        raise ValueError(f"'{path}' has {size} bytes; a configuration has at most {MOST_CONFIG_BYTES}")
    try:
        return ModelConfig.from_toml(path)
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"'{path}': {error}") from error


def _stored(piece: Any, name: str) -> Stored:
    """From the header of a weights file."""
    kind = piece.get_dtype()
    if kind not in DTYPES:
        raise ValueError(f"'{name}' is {kind}; weights are one of {', '.join(DTYPES)}")
    return Stored(tuple(piece.get_shape()), DTYPES[kind])


def training_progress(folder: str | Path) -> tuple[int, int] | None:
    """(steps done, steps of the whole run) of a model that ``sqcodec train`` wrote; None where it does not say."""
    try:
        with safetensors.safe_open(Path(folder) / WEIGHTS_NAME, framework="pt") as file:
            metadata = file.metadata() or {}
        return int(metadata["step"]), int(metadata["steps"])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        return None


def load_weights(module: torch.nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Like ``load_state_dict``, but every missing, unexpected or mismatched tensor is a ValueError naming it."""
    compare(module.state_dict(), state_dict)
    module.load_state_dict(state_dict)


def hash_folder(folder: str | Path) -> str:
    """``hash_model`` of a model folder. Raises what ``load_model`` raises."""
    config, tensors, _ = load_model(folder)
    return hash_model(config, tensors)


def _ordered(data: bytes) -> bytes:
    """A safetensors file with its metadata in order, which the library writes in random order."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
