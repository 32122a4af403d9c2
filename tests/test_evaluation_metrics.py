"""Metrics agree with their reference packages; alignment finds known delays; broken input has a reason."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import signal

from sqcodec.evaluation.alignment import align, estimate_delay
from sqcodec.evaluation.codebook import codebook_use
from sqcodec.evaluation.scorers import Pair, core_metrics, score, scorers_for
from sqcodec.evaluation.statistics import bootstrap_mean, compare_paired

RATE = 16000


@pytest.fixture(scope="module")
def pair(speech: np.ndarray) -> Pair:
    """3 s of speech and the same with noise 15 dB below."""
    reference = speech[RATE : 4 * RATE]
    noise = np.random.default_rng(0).standard_normal(len(reference)).astype(np.float32)
    return Pair(reference, reference + 0.18 * noise * reference.std())


def test_wrapped_packages_give_their_own_numbers(pair: Pair) -> None:
    import pesq
    import pystoi

    values, reasons = score(pair, ["pesq_wb", "pesq_nb", "stoi", "estoi"])
    assert not reasons
    arguments = (pair.reference, pair.decoded)
    assert values["pesq_wb"] == pytest.approx(pesq.pesq(RATE, *arguments, "wb"))
    assert values["pesq_nb"] == pytest.approx(pesq.pesq(RATE, *arguments, "nb"))
    assert values["stoi"] == pytest.approx(pystoi.stoi(*arguments, RATE))
    assert values["estoi"] == pytest.approx(pystoi.stoi(*arguments, RATE, extended=True))


def test_spectral_and_waveform_distances_agree_with_auraloss(pair: Pair) -> None:
    auraloss = pytest.importorskip("auraloss")
    torch = pytest.importorskip("torch")
    values, _ = score(pair, ["stft", "si_sdr"])
    decoded, reference = (torch.from_numpy(x)[None, None] for x in (pair.decoded, pair.reference))
    loss = auraloss.freq.MultiResolutionSTFTLoss(fft_sizes=[512, 1024, 2048], hop_sizes=[50, 120, 240],
                                                 win_lengths=[240, 600, 1200])  # fmt: skip
    assert values["stft"] == pytest.approx(float(loss(decoded, reference)), rel=1e-4)
    assert values["si_sdr"] == pytest.approx(-float(auraloss.time.SISDRLoss()(decoded, reference)), abs=1e-3)


def test_mel_distance_agrees_with_its_formula_in_torch(pair: Pair) -> None:
    """descript-audiotools' MelSpectrogramLoss written out with torch.stft: windows 2048 and 512, pow 2, log10."""
    librosa = pytest.importorskip("librosa")
    torch = pytest.importorskip("torch")
    expected = 0.0
    for window, num_mels in ((2048, 150), (512, 80)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            basis = torch.from_numpy(librosa.filters.mel(sr=RATE, n_fft=window, n_mels=num_mels))
        mels = [
            basis
            @ torch.stft(
                torch.from_numpy(x), window, window // 4, window=torch.hann_window(window), return_complex=True
            ).abs()
            for x in (pair.decoded, pair.reference)
        ]
        logs = [mel.clamp(1e-5).pow(2).log10() for mel in mels]
        expected += float((logs[0] - logs[1]).abs().mean() + (mels[0] - mels[1]).abs().mean())
    assert score(pair, ["mel"])[0]["mel"] == pytest.approx(expected, rel=1e-4)


def test_pitch_errors_of_a_known_shift() -> None:
    """A buzz raised by 3 %: 51 cents, 4.5 Hz at 150 Hz. pYIN steps are 20 cents: half a step is allowed."""
    time = np.arange(RATE) / RATE
    low, high = (signal.sawtooth(2 * np.pi * f * time).astype(np.float32) * 0.3 for f in (150, 154.5))
    values, reasons = score(Pair(low, high), ["f0_rmse", "f0_cents", "vuv_error"])
    assert not reasons
    assert values["f0_cents"] == pytest.approx(51.2, abs=11)
    assert values["f0_rmse"] == pytest.approx(4.5, abs=1.0)
    assert values["vuv_error"] < 5


@pytest.mark.parametrize("delay", [0, 1, 37, 640, -160])
def test_delays_are_found_and_undone(speech: np.ndarray, delay: int) -> None:
    reference = speech[: 3 * RATE]
    late = np.concatenate([np.zeros(max(delay, 0), np.float32), reference[max(-delay, 0) :]])
    assert estimate_delay(reference, late, RATE) == delay
    aligned = align(reference, late, delay)
    assert len(aligned) == len(reference)
    inner = slice(RATE // 2, -RATE // 2)
    np.testing.assert_array_equal(aligned[inner], reference[inner])


def test_delay_of_a_parametric_codec_is_found_by_envelopes(speech: np.ndarray) -> None:
    """All phases replaced (as a vocoder does): no waveform left, found to 3 ms."""
    reference, delay = speech[: 4 * RATE], 320
    _, _, spectrum = signal.stft(reference, RATE, nperseg=512)
    phases = np.exp(2j * np.pi * np.random.default_rng(0).random(spectrum.shape))
    _, vocoded = signal.istft(np.abs(spectrum) * phases, RATE, nperseg=512)
    late = np.concatenate([np.zeros(delay), vocoded])[: len(reference)]
    assert abs(estimate_delay(reference, late, RATE) - delay) <= 0.003 * RATE


def test_broken_input_has_reasons_and_no_crash(speech: np.ndarray) -> None:
    good, silence = speech[:RATE], np.zeros(RATE, np.float32)
    wrong = {
        "silent reference": Pair(silence, good),
        "silent output": Pair(good, silence),
        "both silent": Pair(silence, silence),
        "lengths": Pair(good, good[:-1]),
        "nan": Pair(good, np.full_like(good, np.nan)),
        "one sample": Pair(good[:1], good[:1]),
        "empty": Pair(good[:0], good[:0]),
    }
    for name, pair in wrong.items():
        values, reasons = score(pair, core_metrics())
        assert set(values) | set(reasons) == set(core_metrics()), name
        assert reasons and all(reasons.values()), name
        assert all(np.isfinite(value) for value in values.values()), name
        assert "pesq_wb" in reasons, name
    assert "lengths differ" in score(wrong["lengths"], ["stoi"])[1]["stoi"]
    assert "NaN" in score(wrong["nan"], ["stoi"])[1]["stoi"]


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ValueError, match="Unknown metric 'pesk'.*pesq_wb"):
        scorers_for(["pesk"])


def test_bootstrap_interval_of_normal_values() -> None:
    """The interval is the mean ± 1.96 standard errors, within 10 %; it is the same every time."""
    values = np.random.default_rng(1).standard_normal(400) + 3
    found = bootstrap_mean(values)
    half = 1.96 * values.std() / 20
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert found == bootstrap_mean(values)


def test_paired_comparison_sees_what_means_hide() -> None:
    """Clips differ by 1, systems by 0.05 on each clip: paired, that is certain."""
    rng = np.random.default_rng(2)
    base = {f"clip{i}": float(value) for i, value in enumerate(rng.standard_normal(40))}
    better = {name: value + 0.05 + 0.02 * rng.standard_normal() for name, value in base.items()}
    found = compare_paired(better, base, ("new", "old"), "pesq_wb", higher_is_better=True)
    assert found.low > 0 and found.p_value < 0.001 and found.wins > 0.9
    assert compare_paired(base, better, ("old", "new"), "pesq_wb", True).difference == pytest.approx(-found.difference)
    same = compare_paired(base, base, ("a", "a"), "pesq_wb", True)
    assert same.p_value == 1 and same.wins == 0.5


def test_codebook_use_of_known_streams() -> None:
    even = codebook_use([np.arange(64).repeat(10)], 128)
    assert even.used == 64 and even.entropy == pytest.approx(6) and even.perplexity == pytest.approx(64)
    assert even.cvu == pytest.approx(0.5)
    turns = codebook_use([np.tile([3, 9], 500)], 16)
    assert turns.entropy == pytest.approx(1) and turns.bigram_entropy == pytest.approx(0, abs=0.01)
    with pytest.raises(ValueError, match="do not fit"):
        codebook_use([np.array([5])], 4)


def test_onsets_hear_smearing_and_not_level(speech: np.ndarray) -> None:
    """Magnitudes averaged over 40 ms lose the onsets; half the level does not; a delay of 30 ms puts them elsewhere."""
    reference = speech[: 4 * RATE]
    _, _, spectrum = signal.stft(reference, RATE, nperseg=256, noverlap=192)
    smooth = np.apply_along_axis(np.convolve, 1, np.abs(spectrum), np.ones(10) / 10, mode="same")
    _, smeared = signal.istft(smooth * np.exp(1j * np.angle(spectrum)), RATE, nperseg=256, noverlap=192)
    outputs = {
        "same": reference,
        "softer": reference / 2,
        "smeared": smeared[: len(reference)],
        "late": np.roll(reference, 480),
    }
    found = {name: score(Pair(reference, output), ["onsets"])[0]["onsets"] for name, output in outputs.items()}
    assert found["same"] == pytest.approx(1) and found["softer"] > 0.999
    assert found["smeared"] < 0.9 and found["late"] < 0.5
    assert "no onsets" in score(Pair(reference, np.zeros_like(reference)), ["onsets"])[1]["onsets"]
