"""The settings of a language model's training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sqcodec.tables import Range, Table

Count = Annotated[int, Range(0, 10**9)]


@dataclass(frozen=True)
class LMRecipe(Table):
    """All choices of a run of a language model. Lengths in tokens."""

    hidden_size: Annotated[int, Range(1, 65536)] = 256
    num_layers: Annotated[int, Range(1, 1024)] = 4
    num_heads: Annotated[int, Range(1, 1024)] = 4
    intermediate_size: Annotated[int, Range(1, 2**20)] = 704
    """Width of the feed-forward parts."""
    head_width: Annotated[int, Range(1, 65536)] = 128
    """Width of the head that says a token digit by digit."""
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    length: Annotated[int, Range(2, 2**20)] = 512
    """Of a training sequence."""
    batch_size: Annotated[int, Range(1, 65536)] = 8
    steps: Count = 2000
    minutes: Annotated[float, Range(0, 1e6)] = 0.0
    """Of training, after which a run ends before its steps are done; 0: no limit."""
    learning_rate: Annotated[float, Range(0, 100)] = 1e-3
    warmup: Count = 100
    """Steps over which the learning rate rises."""
    weight_decay: Annotated[float, Range(0, 10)] = 0.05
    clip: Annotated[float, Range(1e-9, 1e9)] = 1.0
    """Longest gradient."""
    bfloat16: bool = True
    split: str = "train"
    """Split of the tokens to train on."""
    validation: Annotated[float, Range(0, 0.99)] = 0.03
    """Share of the speakers held out."""
    text: bool = False
    """Each clip's text goes before its tokens."""
    report: Annotated[int, Range(1, 10**9)] = 50
    """Steps between lines of the log."""
    score: Annotated[int, Range(1, 10**9)] = 500
    """Steps between saves and scores."""
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
