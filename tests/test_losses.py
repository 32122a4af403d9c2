"""The spectral loss against a plain reference, and how it orders distortions."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from sqcodec.losses.spectral import MultiScaleSpectralLoss


def test_equals_librosa(speech: np.ndarray) -> None:
    target, output = speech[:16000], speech[16000:32000]
    loss = MultiScaleSpectralLoss(16000, (512,), (40,))(torch.from_numpy(output)[None], torch.from_numpy(target)[None])
    window = np.hanning(513)[:-1]

    def power(samples: np.ndarray) -> np.ndarray:
        stft = librosa.stft(samples, n_fft=512, hop_length=128, window="hann", center=False)
        return np.abs(stft) ** 2 / np.sum(window**2)

    mel = librosa.filters.mel(sr=16000, n_fft=512, n_mels=40, norm=None)
    log_mel = [np.log10(mel @ power(samples) + 1e-5) for samples in (output, target)]
    log_power = [np.log10(power(samples) + 1e-5) for samples in (output, target)]
    assert float(loss.mel) == pytest.approx(np.abs(log_mel[0] - log_mel[1]).mean(), rel=1e-4)
    assert float(loss.stft) == pytest.approx(np.abs(log_power[0] - log_power[1]).mean(), rel=1e-4)


def test_more_noise_is_further(speech: np.ndarray) -> None:
    loss = MultiScaleSpectralLoss(16000)
    target = torch.from_numpy(speech[:32000])[None]
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 32000)).astype(np.float32))
    distances = [float(loss(target + level * noise, target).mel) for level in (0.0, 0.001, 0.01, 0.1)]
    assert distances[0] == 0.0 and distances == sorted(distances) and distances[1] > 0.01


def test_gradient_leads_to_the_target(speech: np.ndarray) -> None:
    loss = MultiScaleSpectralLoss(16000, (512, 128), (40, 20))
    target = torch.from_numpy(speech[8000:12000])[None]
    gain = torch.tensor(0.3, requires_grad=True)
    optimizer = torch.optim.Adam([gain], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(gain * target, target).mel.backward()
        optimizer.step()
    assert float(gain.detach()) == pytest.approx(1.0, abs=0.05)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[1, 100\]"):
        MultiScaleSpectralLoss(16000)(torch.zeros(1, 100), torch.zeros(1, 100))
