"""A metric, a system and a quantizer of one's own: each is one class or function that registers itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
import torch

from sqcodec.config import FrameConfig, ModelConfig, QuantizerConfig, quantizer_config
from sqcodec.evaluation import scorers, systems
from sqcodec.evaluation.evaluate import Options, evaluate
from sqcodec.evaluation.neural import Counted, NeuralCodec
from sqcodec.evaluation.scorers import Metric, Pair, scorer
from sqcodec.evaluation.systems import system
from sqcodec.evaluation.tables import main_table
from sqcodec.quantizers import Quantizer, build_quantizer
from sqcodec.quantizers.compared.learned import CodebookConfig, CodebookQuantizer, Learned


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered in a test is forgotten after it."""
    scorers.all_scorers(), systems.kinds()
    monkeypatch.setattr(scorers, "_SCORERS", list(scorers._SCORERS))
    monkeypatch.setattr(systems, "_KINDS", dict(systems._KINDS))
    monkeypatch.setattr(QuantizerConfig, "kinds", dict(QuantizerConfig.kinds))
    monkeypatch.setattr(Quantizer, "kinds", dict(Quantizer.kinds))


def test_a_metric_and_a_system(registered, tmp_path: Path) -> None:
    @scorer(Metric("peak", "peak", True, digits=1), extra="mine")
    def peak(pair: Pair) -> dict[str, float]:
        return {"peak": float(np.abs(pair.decoded).max())}

    @system("coarse")
    class Coarse(NeuralCodec):
        """PCM of so many bits."""

        sample_rate = 16000

        def __init__(self, kind: str, setting: str, device: str) -> None:
            self.name, self.package, self.files = "Coarse", "numpy", []
            self.bits, self.bit_rate = int(setting), 16000.0 * int(setting)

        def encode(self, samples: np.ndarray) -> np.ndarray:
            return np.round(samples * 2 ** (self.bits - 1)).astype(np.int64)

        def decode(self, codes: np.ndarray, length: int) -> np.ndarray:
            return codes / 2 ** (self.bits - 1)

        def count(self, codes: np.ndarray) -> Counted:
            return Counted(len(codes) * self.bits, codes)

    soundfile.write(tmp_path / "clip.wav", 0.5 * np.sin(np.arange(16000) / 10), 16000)
    results = evaluate(Options(str(tmp_path / "clip.wav"), ["coarse:4"], tmp_path / "out", metrics=["peak"], jobs=1))
    assert main_table(results) == [
        ["system", "nominal", "actual", "peak ↑", "clips"], ["Coarse 64", "64.00", "64.00", "0.5 ± 0.0", "1"],
    ]  # fmt: skip
    assert "peak" not in scorers.core_metrics()


def test_a_quantizer(registered) -> None:
    @dataclass(frozen=True)
    class FixedConfig(CodebookConfig):
        kind: Literal["fixed"] = "fixed"
        scale: float = 1.0

    class FixedVQ(CodebookQuantizer, kinds=("fixed",), settings=FixedConfig):
        def __init__(self, feature_dim: int, config: FixedConfig) -> None:
            super().__init__(feature_dim, config)
            self.register_buffer("codes", config.scale * torch.randn(config.size, config.dim))

        def codebook(self) -> torch.Tensor:
            return self.get_buffer("codes")

        def learn(self, latents: torch.Tensor, features: torch.Tensor) -> Learned:
            indices = self.nearest(latents.detach())
            return Learned(self.lookup(indices), indices, latents.square().mean())

    config = quantizer_config(kind="fixed", dim=3, size=16, scale=2.0)
    assert ModelConfig.from_toml(FrameConfig(quantizer=config).to_toml()).quantizer == config
    quantizer = build_quantizer(config, 8).eval()
    features = torch.randn(2, 5, 8)
    result = quantizer(features)
    assert result.indices.shape == (2, 5)
    assert torch.equal(result.features, quantizer.decode(quantizer.encode(features)))
