"""What a run says while it trains: a line a log interval, the same in metrics.jsonl and in TensorBoard.

TensorBoard is optional (package ``tensorboard``); ``train.tensorboard = true`` asks for it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)


class Tracker:
    """Averages what the steps report and writes it; only the first process writes."""

    def __init__(self, folder: Path, steps: int, tensorboard: bool = False, speaks: bool = True) -> None:
        self.folder, self.steps, self.speaks = folder, steps, speaks
        self.writer: Any = None
        if tensorboard and speaks:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ImportError("train.tensorboard needs the package tensorboard: pip install tensorboard") from error
            self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.clear()

    def clear(self) -> None:
        """Forgets what was added since the last line."""
        self.sums: dict[str, list[float]] = {}
        self.count, self.started = 0, time.monotonic()

    def add(self, row: Mapping[str, float]) -> None:
        """The numbers of one step; a number may be missing in some steps."""
        self.count += 1
        for name, value in row.items():
            self.sums.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        """Of what was added since the last line."""
        return {name: sum(values) / len(values) for name, values in self.sums.items()}

    def interval(self, step: int, audio_seconds: float, **more: float) -> dict[str, float]:
        """Writes the means since the last call; ``audio_seconds`` of one step. Returns them."""
        row = self.means()
        seconds = max(1e-9, time.monotonic() - self.started)
        row |= {"audio_seconds_per_second": self.count * audio_seconds / seconds, **more}
        eta = (self.steps - step) * seconds / max(1, self.count)
        self.clear()
        self.write(step, row, f" eta {eta / 60:.0f} min")
        return row

    def write(self, step: int, row: Mapping[str, float], note: str = "") -> None:
        """One line, one JSON object, one point of each curve."""
        if not self.speaks:
            return
        values = " ".join(f"{name} {value:.4g}" for name, value in row.items())
        log.info("step %d of %d %s%s", step, self.steps, values, note)
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")
        if self.writer is not None:
            for name, value in row.items():
                self.writer.add_scalar(name, value, step)

    def sample(self, step: int, name: str, samples: Tensor, sample_rate: int) -> None:
        """Audio [T] and its log spectrogram in TensorBoard."""
        if self.writer is None:
            return
        self.writer.add_audio(name, samples[None], step, sample_rate)
        window = torch.hann_window(512)
        spectrum = torch.stft(samples, 512, 128, window=window, return_complex=True).abs()
        image = (spectrum.clamp_min(1e-4).log10() + 4.0) / 6.0
        self.writer.add_image(name, image.clamp(0, 1).flip(0)[None], step)
        self.writer.flush()
