"""What a run says while it trains: a line a log interval, the same in metrics.jsonl and in TensorBoard, and a bar.

TensorBoard is optional (package ``tensorboard``); ``train.tensorboard = true`` asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sqcodec.runs import add_metrics, cut_metrics, has_metrics
from sqcodec.training.picture import draw_runs

log = logging.getLogger(__name__)

SHOWN = ("total", "mel", "discriminator")
"""On the bar."""
PICTURE_NAME = "training.svg"
CLOCK = "speed"
"""Seconds of speech trained on per second: the one number of a row that another run of the recipe does not repeat."""


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
        self.bar: Any = None
        self.clear()

    def begin(self, step: int) -> None:
        """Starts the clock at a step, and a bar where the output is a terminal. What was written of later steps goes:
        they will come again."""
        if self.speaks:
            cut_metrics(self.folder, step)
        if self.speaks and sys.stderr.isatty() and self.bar is None:
            self.bar = tqdm(total=self.steps, file=sys.stderr, unit="step", dynamic_ncols=True)
        if self.bar is not None:
            self.bar.n = self.bar.initial = step
            self.bar.refresh()
        self.started, self.counted = time.monotonic(), 0

    def end(self) -> None:
        """Takes the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def has(self, step: int, name: str) -> bool:
        """Whether a row of a step with this number was written."""
        return has_metrics(self.folder, step, name)

    def clear(self) -> None:
        """Forgets what was added since the last line."""
        self.sums: dict[str, list[float]] = {}
        self.counted, self.started = 0, time.monotonic()

    def add(self, row: Mapping[str, float]) -> None:
        """The numbers of one step; a number may be missing in some steps."""
        self.counted += 1
        for name, value in row.items():
            self.sums.setdefault(name, []).append(value)
        if self.bar is not None:
            self.bar.set_postfix_str(" ".join(f"{n} {row[n]:.3g}" for n in SHOWN if n in row), refresh=False)
            self.bar.update()

    def means(self) -> dict[str, float]:
        """Of what was added since the last line."""
        return {name: sum(values) / len(values) for name, values in self.sums.items()}

    def interval(self, step: int, audio_seconds: float, **more: float) -> dict[str, float]:
        """Writes the means since the last call; ``audio_seconds`` of one step. Returns them."""
        row = self.means()
        seconds = max(1e-9, time.monotonic() - self.started)
        row |= {CLOCK: self.counted * audio_seconds / seconds, **more}
        if self.bar is not None:
            self.bar.total = self.steps
        left = (self.steps - step) * seconds / max(1, self.counted)
        self.clear()
        self.write(step, row, f", {_in_words(left)} left")
        return row

    def state_dict(self) -> dict[str, Any]:
        """The numbers of a line that is not full yet."""
        return {"sums": {name: list(values) for name, values in self.sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.clear()
        self.sums = {name: list(values) for name, values in state["sums"].items()}

    def write(self, step: int, row: Mapping[str, float], note: str = "") -> None:
        """One line, one JSON object, one point of each curve."""
        if not self.speaks:
            return
        values = " ".join(f"{name} {value:.4g}" for name, value in row.items())
        log.info("step %d of %d %s%s", step, self.steps, values, note)
        add_metrics(self.folder, {"step": step, **row})
        if self.writer is not None:
            for name, value in row.items():
                self.writer.add_scalar(name, value, step)

    def draw(self) -> None:
        """The curves so far, as training.svg, where matplotlib is installed."""
        if self.speaks:
            with contextlib.suppress(ImportError):
                draw_runs({self.folder.name: self.folder}, self.folder / PICTURE_NAME)

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


def _in_words(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
