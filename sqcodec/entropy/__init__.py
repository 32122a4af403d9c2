"""Entropy coding of tokens: a small causal predictor in exact integers, and a range coder. Specified in
docs/code-file.md (payload kind 1)."""

from .blocks import BlockReader, BlockWriter
from .predictor import PREDICTOR_NAME, Predictor, PredictorError

__all__ = ["PREDICTOR_NAME", "BlockReader", "BlockWriter", "Predictor", "PredictorError"]
