"""The core metrics of a decoded signal against its reference: `Pair` in, a dict of numbers out.

Each function names its source. Where it wraps a package, the package's own result is returned unchanged.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np

from sqcodec.extras import require

from .scorers import Metric, NotScorable, Pair, scorer

_SILENCE = 1e-5  # RMS, -100 dBFS
_LOWEST, _HIGHEST = 60.0, 500.0  # Hz, of the pitch
_PITCH_FRAME, _PITCH_HOP = 0.064, 0.01  # seconds
_RESOLUTION = 0.2  # semitones a step: five times as fast as librosa's default, and finer than what codecs do
_ONSET_FRAME, _ONSET_HOP = 0.016, 0.005  # seconds
_ONSET_MELS, _ONSET_RANGE = 40, 60.0  # bands, dB


@scorer(Metric("pesq_wb", "PESQ-WB", True), packages=("pesq",))
def pesq_wideband(pair: Pair) -> dict[str, float]:
    """PESQ-WB, MOS-LQO 1.04 to 4.64 (ITU-T P.862.2; package `pesq`). Needs 16 kHz."""
    return {"pesq_wb": _pesq(pair, "wb")}


@scorer(Metric("pesq_nb", "PESQ-NB", True), packages=("pesq",))
def pesq_narrowband(pair: Pair) -> dict[str, float]:
    """PESQ-NB, MOS-LQO 1.02 to 4.55 (ITU-T P.862.1; package `pesq`), which band-limits by itself."""
    return {"pesq_nb": _pesq(pair, "nb")}


def _pesq(pair: Pair, mode: str) -> float:
    pesq = require("pesq", "eval", "PESQ")
    _need_sound(pair)
    try:
        return float(pesq.pesq(pair.sample_rate, pair.reference, pair.decoded, mode))
    except pesq.NoUtterancesError as error:
        raise NotScorable("PESQ finds no speech") from error


@scorer(Metric("stoi", "STOI", True, digits=3), packages=("pystoi",))
def stoi(pair: Pair) -> dict[str, float]:
    """Short-time objective intelligibility, up to 1 (Taal et al. 2011; package `pystoi`)."""
    return {"stoi": _stoi(pair, extended=False)}


@scorer(Metric("estoi", "ESTOI", True, digits=3), packages=("pystoi",))
def extended_stoi(pair: Pair) -> dict[str, float]:
    """Extended STOI, up to 1 (Jensen and Taal 2016; package `pystoi`)."""
    return {"estoi": _stoi(pair, extended=True)}


def _stoi(pair: Pair, extended: bool) -> float:
    pystoi = require("pystoi", "eval", "STOI")
    _need_sound(pair, decoded_too=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # pystoi warns, and gives 1e-5, where it has too few frames
        try:
            return float(pystoi.stoi(pair.reference, pair.decoded, pair.sample_rate, extended=extended))
        except RuntimeWarning as warning:
            raise NotScorable("STOI needs 0.4 s of speech that is not silence") from warning


@scorer(Metric("si_sdr", "SI-SDR", True, "dB", 1))
def si_sdr(pair: Pair) -> dict[str, float]:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), means removed.

    -inf for silence, which is no score; 100 dB at most, where only rounding is left.
    """
    _need_sound(pair)
    reference, decoded = (np.asarray(x, np.float64) for x in (pair.reference, pair.decoded))
    reference, decoded = reference - reference.mean(), decoded - decoded.mean()
    if not reference.any():
        raise NotScorable("the reference is constant")
    target = reference * (reference @ decoded) / (reference @ reference)
    noise = decoded - target
    ratio = (target @ target) / max(noise @ noise, 1e-10 * (target @ target), 1e-30)
    return {"si_sdr": float(10 * np.log10(max(ratio, 1e-10)))}


@scorer(Metric("stft", "MR-STFT", False, digits=3), packages=("auraloss",))
def stft_distance(pair: Pair) -> dict[str, float]:
    """Multi-resolution STFT distance: spectral convergence + log magnitude L1, averaged over FFT 512, 1024, 2048.

    `auraloss.freq.MultiResolutionSTFTLoss` with its defaults (Yamamoto et al. 2020).
    """
    torch = require("torch", "eval", "The STFT distance")
    signals = [torch.from_numpy(np.float32(x))[None, None] for x in (pair.decoded, pair.reference)]
    with torch.no_grad():
        return {"stft": float(_stft_loss()(*signals))}


@lru_cache(maxsize=1)
def _stft_loss():  # noqa: ANN202 - a class of an optional package
    return require("auraloss.freq", "eval", "The STFT distance").MultiResolutionSTFTLoss()


@scorer(Metric("mel", "mel distance", False, digits=3), packages=("librosa",))
def mel_distance(pair: Pair) -> dict[str, float]:
    """Mel distance as DAC's evaluation has it (Kumar et al. 2023; MelSpectrogramLoss of descript-audiotools).

    Sum over windows 2048 (150 mels) and 512 (80), hop a quarter, of the L1 distance of the mel magnitudes and of
    log10 of their squares.
    """
    total = 0.0
    for window, num_mels in ((2048, 150), (512, 80)):
        reference, decoded = (
            _mel_magnitudes(x, pair.sample_rate, window, num_mels) for x in (pair.reference, pair.decoded)
        )
        logs = [np.log10(np.maximum(x, 1e-5) ** 2) for x in (reference, decoded)]
        total += np.abs(reference - decoded).mean() + np.abs(logs[0] - logs[1]).mean()
    return {"mel": float(total)}


def _mel_magnitudes(samples: np.ndarray, sample_rate: int, window: int, num_mels: int) -> np.ndarray:
    librosa = require("librosa", "eval", "The mel distance")
    spectrum = librosa.stft(np.float32(samples), n_fft=window, hop_length=window // 4, pad_mode="reflect")
    return _mel_filters(sample_rate, window, num_mels) @ np.abs(spectrum)


@lru_cache(maxsize=8)
def _mel_filters(sample_rate: int, window: int, num_mels: int) -> np.ndarray:
    librosa = require("librosa", "eval", "The mel distance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # 150 mels of 16 kHz leave a few low filters empty
        return librosa.filters.mel(sr=sample_rate, n_fft=window, n_mels=num_mels)


@scorer(Metric("onsets", "onsets", True, digits=3), packages=("librosa",))
def onset_correlation(pair: Pair) -> dict[str, float]:
    """Pearson correlation of the onset strengths, 1 at best. Raises NotScorable where one of them is constant.

    Are onsets and bursts where they were? Spectral flux (Dixon 2006, "Onset detection revisited") is what rises in a
    log mel spectrogram from one frame to the next, summed over bands; here down to 60 dB below the loudest band. A
    codec that smears transients lowers it, one that changes levels does not.
    """
    if "onsets" not in pair.cache:
        pair.cache["onsets"] = _strength(pair.reference, pair.sample_rate)
    reference, decoded = pair.cache["onsets"], _strength(pair.decoded, pair.sample_rate)
    if not reference.std() or not decoded.std():
        raise NotScorable("there are no onsets")
    return {"onsets": float(np.corrcoef(reference, decoded)[0, 1])}


def _strength(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """[T] -> onset strength, one a hop."""
    librosa = require("librosa", "eval", "The correlation of onsets")
    window, hop = round(_ONSET_FRAME * sample_rate), round(_ONSET_HOP * sample_rate)
    power = librosa.feature.melspectrogram(
        y=np.float32(samples), sr=sample_rate, n_fft=window, hop_length=hop, n_mels=_ONSET_MELS
    )
    return librosa.onset.onset_strength(
        S=librosa.power_to_db(power, ref=np.max, top_db=_ONSET_RANGE), sr=sample_rate, n_fft=window, hop_length=hop
    )


@scorer(
    Metric("f0_rmse", "F0 RMSE", False, "Hz", 1),
    Metric("f0_cents", "F0 error", False, "cent", 0),
    Metric("vuv_error", "V/UV error", False, "%", 1),
    packages=("librosa",),
)
def pitch_errors(pair: Pair) -> dict[str, float]:
    """F0 RMSE in Hz and RMS error in cents over frames voiced in both; V/UV disagreement in %.

    By librosa's probabilistic YIN (Mauch and Dixon 2014) on both signals.

    Raises NotScorable where fewer than 5 frames are voiced in both signals.
    """
    if "pitch" not in pair.cache:
        pair.cache["pitch"] = _track(pair.reference, pair.sample_rate)
    reference, reference_voiced = pair.cache["pitch"]
    decoded, decoded_voiced = _track(pair.decoded, pair.sample_rate)
    both = reference_voiced & decoded_voiced
    if both.sum() < 5:
        raise NotScorable("fewer than 5 frames are voiced in both signals")
    cents = 1200 * np.log2(decoded[both] / reference[both])
    return {
        "f0_rmse": float(np.sqrt(np.mean((decoded[both] - reference[both]) ** 2))),
        "f0_cents": float(np.sqrt(np.mean(cents**2))),
        "vuv_error": float(100 * np.mean(reference_voiced != decoded_voiced)),
    }


def _track(samples: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """[T] -> F0 in Hz and voicing, one of each per 10 ms."""
    librosa = require("librosa", "eval", "The F0 error")
    pitch, voiced, _ = librosa.pyin(
        np.float32(samples),
        fmin=_LOWEST,
        fmax=_HIGHEST,
        sr=sample_rate,
        frame_length=round(_PITCH_FRAME * sample_rate),
        hop_length=round(_PITCH_HOP * sample_rate),
        resolution=_RESOLUTION,
    )
    return pitch, voiced


def _need_sound(pair: Pair, decoded_too: bool = True) -> None:
    if np.sqrt(np.mean(np.square(pair.reference, dtype=np.float64))) < _SILENCE:
        raise NotScorable("the reference is silent")
    if decoded_too and np.sqrt(np.mean(np.square(pair.decoded, dtype=np.float64))) < _SILENCE:
        raise NotScorable("the decoded signal is silent")
