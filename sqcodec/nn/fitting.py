"""Whether stored tensors are those of a configuration: looked at before anything is allocated.

A configuration that somebody sent may describe a network of any size. It is built without memory, on PyTorch's meta
device, and compared with the names, shapes and types that the weights file lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sqcodec.config import ModelConfig
from sqcodec.nn import build_network

MOST_LAYERS = 512
MOST_PARAMETERS = 2**28
MOST_OTHER_BYTES = 2**27
"""Of what a network holds beside its stored tensors, such as windows and queues."""
MOST_SECONDS = 60
"""That a model may hear ahead, or pad to."""


@dataclass(frozen=True)
class Stored:
    """What a weights file says of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def check_fit(config: ModelConfig, stored: Mapping[str, Stored]) -> None:
    """Raises ValueError, which names what is wrong, unless the tensors are those of the configuration's network, and
    the network is one that a computer can run."""
    network = outline(config)
    own = network.state_dict()
    compare(own, stored)
    parameters = sum(tensor.numel() for tensor in own.values())
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"The model has {parameters} parameters; at most {MOST_PARAMETERS} are allowed.")
    others = sum(tensor.numel() * tensor.element_size() for tensor in _others(network, own))
    if others > MOST_OTHER_BYTES:
        raise ValueError(f"The configuration takes {others} bytes beside the weights; allowed are {MOST_OTHER_BYTES}.")


def outline(config: ModelConfig) -> nn.Module:
    """The network of a configuration without memory for its tensors.

    Raises:
        ValueError: it has too many layers, hears or pads too far, or cannot be built.
    """
    layers = sum(_depths(config.to_dict()))
    if layers > MOST_LAYERS:
        raise ValueError(f"The configuration has {layers} layers; at most {MOST_LAYERS} are allowed.")
    for what, samples in (("lookahead", config.lookahead), ("padding", config.pad_multiple)):
        if samples > MOST_SECONDS * config.sample_rate:
            raise ValueError(f"The configuration's {what} is {samples} samples; at most {MOST_SECONDS} s are allowed.")
    try:
        with torch.device("meta"):
            return build_network(config)
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"The configuration describes no network: {_first_line(error)}") from error


def compare(own: Mapping[str, Tensor], stored: Mapping[str, Stored | Tensor]) -> None:
    """Raises ValueError that names the tensors that are missing, unexpected, or of another shape or type. Floating
    tensors may have any floating type."""
    problems = [f"'{name}' is missing" for name in own.keys() - stored.keys()]
    problems += [f"'{name}' is not part of the model" for name in stored.keys() - own.keys()]
    for name in own.keys() & stored.keys():
        needed, found = own[name], stored[name]
        if tuple(found.shape) != tuple(needed.shape):
            problems.append(f"'{name}' is {list(found.shape)}, the model needs {list(needed.shape)}")
        elif found.dtype != needed.dtype and not (found.dtype.is_floating_point and needed.dtype.is_floating_point):
            problems.append(f"'{name}' is {_name(found.dtype)}, the model needs {_name(needed.dtype)}")
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise ValueError(f"Weights do not fit the configuration: {'; '.join(sorted(problems)[:5])}{more}.")


def _depths(values: object, name: str = "") -> Iterator[int]:
    """All numbers of layers in the tables of a configuration."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _depths(value, key)
    elif isinstance(values, (list, tuple)) and (name.endswith("depths") or name == "output_dilations"):
        yield from (values if name.endswith("depths") else [len(values)])
    elif isinstance(values, int) and name.endswith("depth"):
        yield values


def _others(network: nn.Module, own: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """Tensors that a network makes when it is built, and does not store."""
    yield from (buffer for name, buffer in network.named_buffers() if name not in own)
    for module in network.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
