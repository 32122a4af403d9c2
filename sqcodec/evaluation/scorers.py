"""Metrics by name: which exist, what each needs, and scoring one pair of signals with a chosen few.

A `Scorer` gives one or more metrics of a `Pair` at once. Scorers are listed in `SCORERS`; the functions behind
them live in `metrics`, `pitch` and the modules that adapt heavier packages, imported when first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from .extras import MissingExtra, version

REFERENCE_RATE = 16000


@dataclass(frozen=True)
class Pair:
    """What is scored: reference and decoded signal [T], equally long, aligned, both at `sample_rate` Hz.

    `text` is the transcript or empty. `cache` outlives the pair: it is shared by all systems of one utterance.
    """

    reference: np.ndarray
    decoded: np.ndarray
    sample_rate: int = REFERENCE_RATE
    text: str = ""
    cache: dict = field(default_factory=dict, compare=False, repr=False)


class NotScorable(ValueError):
    """This pair has no such score (silence, too short, ...). The message is the reason."""


@dataclass(frozen=True)
class Metric:
    """A number of the table. `higher_is_better` None: neither (a rate, a count).

    `weight` names a value that the scorer gives too: what a clip counts in the mean (of errors a word, its words).
    """

    name: str
    label: str
    higher_is_better: bool | None
    unit: str = ""
    digits: int = 2
    weight: str = ""


@dataclass(frozen=True)
class Scorer:
    """Gives `metrics` by calling `module.function(pair) -> dict of name to value`.

    `packages` are the distributions behind it, whose versions are recorded; `extra` installs them.
    `is_core`: runs unless asked otherwise.
    """

    module: str
    function: str
    metrics: tuple[Metric, ...]
    packages: tuple[str, ...] = ()
    extra: str = "eval"
    is_core: bool = True

    def load(self) -> Callable[[Pair], dict[str, float]]:
        """The function. Raises MissingExtra where its package is not there."""
        for package in self.packages:
            if version(package) == "missing":
                raise MissingExtra(
                    f"{self.metrics[0].label} needs the package '{package}': pip install 'sqcodec[{self.extra}]'"
                )
        module = importlib.import_module(f"{__package__}.{self.module}")
        check = getattr(module, f"check_{self.function}", None) or getattr(module, "check", None)
        if check is not None:
            check()
        return getattr(module, self.function)

    def versions(self) -> dict[str, str]:
        return {package: version(package) for package in self.packages}


def _extra(module: str, function: str, extra: str, package: str, *metrics: Metric) -> Scorer:
    """A scorer that runs only when asked for."""
    return Scorer(module, function, metrics, (package,), extra, is_core=False)


SCORERS: tuple[Scorer, ...] = (
    Scorer("metrics", "pesq_wideband", (Metric("pesq_wb", "PESQ-WB", True),), ("pesq",)),
    Scorer("metrics", "pesq_narrowband", (Metric("pesq_nb", "PESQ-NB", True),), ("pesq",)),
    Scorer("metrics", "stoi", (Metric("stoi", "STOI", True, digits=3),), ("pystoi",)),
    Scorer("metrics", "extended_stoi", (Metric("estoi", "ESTOI", True, digits=3),), ("pystoi",)),
    Scorer("metrics", "si_sdr", (Metric("si_sdr", "SI-SDR", True, "dB", 1),)),
    Scorer("metrics", "stft_distance", (Metric("stft", "MR-STFT", False, digits=3),), ("auraloss",)),
    Scorer("metrics", "mel_distance", (Metric("mel", "mel distance", False, digits=3),), ("librosa",)),
    Scorer("onsets", "onset_correlation", (Metric("onsets", "onsets", True, digits=3),), ("librosa",)),
    Scorer(
        "pitch",
        "pitch_errors",
        (
            Metric("f0_rmse", "F0 RMSE", False, "Hz", 1),
            Metric("f0_cents", "F0 error", False, "cent", 0),
            Metric("vuv_error", "V/UV error", False, "%", 1),
        ),
        ("librosa",),
    ),
    _extra("opinion", "visqol", "visqol", "visqol-python", Metric("visqol", "ViSQOL", True)),
    _extra("opinion", "dnsmos", "mos", "speechmos", Metric("dnsmos", "DNSMOS", True)),
    _extra("opinion", "distillmos", "mos", "distillmos", Metric("distillmos", "DistillMOS", True)),
    _extra("speaker", "speaker_similarity", "speaker", "resemblyzer", Metric("speaker", "speaker", True, digits=3)),
    _extra(
        "squim",
        "squim",
        "squim",
        "torchaudio",
        Metric("squim_stoi", "SQUIM-STOI", True, digits=3),
        Metric("squim_pesq", "SQUIM-PESQ", True),
        Metric("squim_si_sdr", "SQUIM-SI-SDR", True, "dB", 1),
    ),
    _extra(
        "recognition",
        "error_rates",
        "wer",
        "faster-whisper",
        Metric("wer", "WER", False, "%", 1, "words"),
        Metric("cer", "CER", False, "%", 1, "characters"),
    ),
)


def all_metrics() -> dict[str, Metric]:
    """Every metric by name, in the order of the table."""
    return {metric.name: metric for scorer in SCORERS for metric in scorer.metrics}


def core_metrics() -> list[str]:
    """The names of those that run unless asked otherwise."""
    return [metric.name for scorer in SCORERS if scorer.is_core for metric in scorer.metrics]


def scorers_for(names: Iterable[str]) -> list[Scorer]:
    """The scorers that give the named metrics. Raises ValueError naming an unknown one."""
    wanted, known = list(names), all_metrics()
    for name in wanted:
        if name not in known:
            raise ValueError(f"Unknown metric '{name}'. Choose from: {', '.join(known)}.")
    return [scorer for scorer in SCORERS if any(metric.name in wanted for metric in scorer.metrics)]


def score(pair: Pair, names: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The named metrics of one pair, and why the ones that are missing are missing.

    Raises:
        MissingExtra: a package is not installed. Everything else that goes wrong is a reason, not an error.
    """
    wanted = list(names)
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    problem = _problem(pair)
    for scorer in scorers_for(wanted):
        own = [metric.name for metric in scorer.metrics if metric.name in wanted]
        weights = [metric.weight for metric in scorer.metrics if metric.name in wanted and metric.weight]
        if problem:
            reasons.update(dict.fromkeys(own, problem))
            continue
        function = scorer.load()
        try:
            found = function(pair)
        except Exception as error:  # third parties raise anything; one bad clip must not end a run
            reasons.update(dict.fromkeys(own, str(error) or type(error).__name__))
            continue
        for name in own:
            if np.isfinite(found[name]):
                values[name] = float(found[name])
            else:
                reasons[name] = f"the result is {found[name]}"
        values.update((name, float(found[name])) for name in weights)
    return values, reasons


def _problem(pair: Pair) -> str:
    """Why nothing can be scored, or an empty string."""
    if len(pair.reference) != len(pair.decoded):
        return f"lengths differ: {len(pair.reference)} and {len(pair.decoded)} samples"
    if not len(pair.reference):
        return "no samples"
    if not np.isfinite(pair.decoded).all():
        return "NaN or infinite samples in the decoded signal"
    if not np.isfinite(pair.reference).all():
        return "NaN or infinite samples in the reference"
    return ""
