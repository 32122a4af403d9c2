"""What is kept of a clip and of a corpus."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sqcodec.codec import Precision


@dataclass(frozen=True, eq=False)
class TokenRecord:
    """One clip."""

    id: str
    tokens: np.ndarray
    """[N], the smallest unsigned integers that hold K - 1."""
    num_samples: int
    """True length at the model's rate: what decoding should return."""
    seconds: float
    """Of the audio that went in."""
    sample_rate: int
    """Of the audio that went in, Hz."""
    speaker: str = ""
    split: str = ""
    text: str = ""
    source: str = ""

    def fields(self) -> dict[str, Any]:
        """All but the tokens, in a fixed order."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["tokens"]
        return values


@dataclass(frozen=True)
class TokenInfo:
    """What every clip of a corpus shares. Rates in Hz and tokens a second; ``weights_hash``: the model's (hex);
    ``levels``: of the digits of a token, None for a codebook without; ``bits``: of a nested token, None for others."""

    model: str
    weights_hash: str
    sample_rate: int
    hop_length: int
    token_rate: float
    codebook_size: int
    levels: tuple[int, ...] | None
    precision: Precision = "float32"
    bits: int | None = None

    @property
    def dtype(self) -> np.dtype:
        return token_dtype(self.codebook_size)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with the name of the tokens' type."""
        levels = list(self.levels) if self.levels else None
        return dataclasses.asdict(self) | {"levels": levels, "dtype": self.dtype.name}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TokenInfo:
        """Out of what ``to_dict`` gave, and more: other names are passed over."""
        found = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}
        return cls(**found | {"levels": tuple(values["levels"]) if values["levels"] else None})


def token_dtype(codebook_size: int) -> np.dtype:
    """The smallest unsigned integer type that holds 0 to K - 1."""
    return np.dtype(np.min_scalar_type(codebook_size - 1))
