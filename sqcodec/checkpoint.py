"""A model on disk: one folder with ``model.safetensors`` and ``config.toml``.

Everything is written under a temporary name, synced, then renamed: a crash leaves the previous version.
"""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sqcodec.config import ModelConfig
from sqcodec.files import write_atomically
from sqcodec.identity import hash_model

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.toml"


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
        ValueError: a file is damaged.
    """
    folder = Path(folder)
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"'{folder}' is not a model folder: it has no {name}.")
    config = ModelConfig.from_toml(folder / CONFIG_NAME)
    try:
        with safetensors.safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except safetensors.SafetensorError as error:
        raise ValueError(f"'{folder / WEIGHTS_NAME}' is damaged: {error}") from error
    return config, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, metadata


def load_weights(module: torch.nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Like ``load_state_dict``, but every missing, unexpected or mismatched tensor is a ValueError naming it."""
    own = module.state_dict()
    problems = [f"'{name}' is missing" for name in own.keys() - state_dict.keys()]
    problems += [f"'{name}' is not part of the model" for name in state_dict.keys() - own.keys()]
    for name in own.keys() & state_dict.keys():
        if own[name].shape != state_dict[name].shape:
            problems.append(f"'{name}' is {list(state_dict[name].shape)}, the model needs {list(own[name].shape)}")
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise ValueError(f"Weights do not fit the configuration: {'; '.join(sorted(problems)[:5])}{more}.")
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
