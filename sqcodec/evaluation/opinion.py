"""Trained judges, from packages that bring their weights: opinions (ViSQOL, DNSMOS, DistillMOS, SQUIM) and voices.

ViSQOL and speaker similarity compare with the reference; the others hear the decoded signal alone, so they also praise
speech that is clean but not what was said. All take 16 kHz.
"""

from __future__ import annotations

import contextlib
import io
import sys
import types
from functools import lru_cache
from typing import Any

import numpy as np

from sqcodec.extras import MissingExtra, require, stand_in

from .scorers import Metric, Pair, scorer


@lru_cache(maxsize=1)
def _visqol() -> Any:
    api = require("visqol", "visqol", "ViSQOL").VisqolApi()
    api.create(mode="speech")
    return api


@scorer(Metric("visqol", "ViSQOL", True), packages=("visqol-python",), extra="visqol", check=_visqol)
def visqol(pair: Pair) -> dict[str, float]:
    """ViSQOL in speech mode, MOS-LQO 1 to 5 (Chinen et al. 2020; package `visqol-python`)."""
    signals = (np.asarray(x, np.float64) for x in (pair.reference, pair.decoded))
    return {"visqol": float(_visqol().measure_from_arrays(*signals, pair.sample_rate).moslqo)}


def _dnsmos() -> Any:
    return require("speechmos.dnsmos", "mos", "DNSMOS")


@scorer(Metric("dnsmos", "DNSMOS", True), packages=("speechmos",), extra="mos", check=_dnsmos)
def dnsmos(pair: Pair) -> dict[str, float]:
    """DNSMOS P.835 overall, 1 to 5 (Reddy et al. 2022; package `speechmos`). Clips under 9 s are repeated."""
    decoded = np.clip(pair.decoded, -1, 1).astype(np.float32)
    return {"dnsmos": float(_dnsmos().run(decoded, pair.sample_rate)["ovrl_mos"])}


@lru_cache(maxsize=1)
def _distillmos() -> Any:
    """The model. The package imports torchaudio, which does not load beside a CPU-only PyTorch, for reading files
    only: an empty module stands in for it during the import."""
    with stand_in("torchaudio"):
        package = require("distillmos", "mos", "DistillMOS")
    with contextlib.redirect_stdout(io.StringIO()):
        return package.ConvTransformerSQAModel().eval()


@scorer(Metric("distillmos", "DistillMOS", True), packages=("distillmos",), extra="mos", check=_distillmos)
def distillmos(pair: Pair) -> dict[str, float]:
    """DistillMOS, 1 to 5 (Stahl and Gamper 2025; package `distillmos`)."""
    torch = require("torch", "mos", "DistillMOS")
    with torch.no_grad():
        return {"distillmos": float(_distillmos()(torch.from_numpy(np.float32(pair.decoded))[None]))}


@lru_cache(maxsize=1)
def _squim() -> Any:
    bundle = getattr(require("torchaudio.pipelines", "squim", "SQUIM"), "SQUIM_OBJECTIVE", None)
    if bundle is None:
        raise MissingExtra("SQUIM needs a torchaudio that has pipelines.SQUIM_OBJECTIVE (2.1 and later).")
    try:
        return bundle.get_squim().eval()
    except OSError as error:  # no network at the first use
        raise MissingExtra(f"SQUIM could not fetch its weights ({error}): go online once, or leave it out.") from error


@scorer(
    Metric("squim_stoi", "SQUIM-STOI", True, digits=3),
    Metric("squim_pesq", "SQUIM-PESQ", True),
    Metric("squim_si_sdr", "SQUIM-SI-SDR", True, "dB", 1),
    packages=("torchaudio",),
    extra="squim",
    check=_squim,
)
def squim(pair: Pair) -> dict[str, float]:
    """TorchAudio-SQUIM: STOI, PESQ-WB and SI-SDR guessed from the decoded signal alone (arXiv 2304.01448).

    For pairs whose reference is not to be trusted. `torchaudio` fetches its weights once; it must be the release that
    belongs to the installed PyTorch.
    """
    torch = require("torch", "squim", "SQUIM")
    with torch.inference_mode():
        stoi, pesq, si_sdr = _squim()(torch.from_numpy(np.float32(pair.decoded))[None])
    return {"squim_stoi": float(stoi), "squim_pesq": float(pesq), "squim_si_sdr": float(si_sdr)}


@lru_cache(maxsize=1)
def _voice_encoder() -> Any:
    """The encoder. The package imports, for trimming silence only, a voice detector that needs an old setuptools and
    a SciPy module that is gone: stand-ins take their place during the import."""
    names = ("webrtcvad", "scipy.ndimage.morphology")
    added = [name for name in names if name not in sys.modules]
    for name in added:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["scipy.ndimage.morphology"].__dict__.setdefault("binary_dilation", None)
    try:
        package = require("resemblyzer", "speaker", "Speaker similarity")
    finally:
        for name in added:
            del sys.modules[name]
    return package.VoiceEncoder("cpu", verbose=False)


@scorer(Metric("speaker", "speaker", True, digits=3), packages=("resemblyzer",), extra="speaker", check=_voice_encoder)
def speaker_similarity(pair: Pair) -> dict[str, float]:
    """Cosine of Resemblyzer's embeddings (GE2E, Wan et al. 2018), 1 for the same voice. Levels are set to -30 dBFS."""
    if "speaker" not in pair.cache:
        pair.cache["speaker"] = _embed(pair.reference)
    return {"speaker": float(pair.cache["speaker"] @ _embed(pair.decoded))}


def _embed(samples: np.ndarray) -> np.ndarray:
    """A unit vector. Silences stay in: what is compared is the same clip."""
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return _voice_encoder().embed_utterance(np.float32(samples * (10 ** (-30 / 20) / max(level, 1e-9))))
