"""TorchAudio-SQUIM: STOI, PESQ-WB and SI-SDR guessed from the decoded signal alone (Kumar et al., arXiv 2304.01448).

For pairs whose reference is not to be trusted. `torchaudio` brings the model and fetches its weights once; it must be
the release that belongs to the installed PyTorch, or it does not load.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .extras import MissingExtra, require
from .scorers import Metric, Pair, scorer


@lru_cache(maxsize=1)
def _model() -> Any:
    bundle = getattr(require("torchaudio.pipelines", "squim", "SQUIM"), "SQUIM_OBJECTIVE", None)
    if bundle is None:
        raise MissingExtra("SQUIM needs a torchaudio that has pipelines.SQUIM_OBJECTIVE (2.1 and later).")
    try:
        return bundle.get_model().eval()
    except OSError as error:  # no network at the first use
        raise MissingExtra(f"SQUIM could not fetch its weights ({error}): go online once, or leave it out.") from error


@scorer(
    Metric("squim_stoi", "SQUIM-STOI", True, digits=3),
    Metric("squim_pesq", "SQUIM-PESQ", True),
    Metric("squim_si_sdr", "SQUIM-SI-SDR", True, "dB", 1),
    packages=("torchaudio",),
    extra="squim",
    check=_model,
)
def squim(pair: Pair) -> dict[str, float]:
    """The three estimates for the decoded signal, 16 kHz."""
    torch = require("torch", "squim", "SQUIM")
    with torch.inference_mode():
        stoi, pesq, si_sdr = _model()(torch.from_numpy(np.float32(pair.decoded))[None])
    return {"squim_stoi": float(stoi), "squim_pesq": float(pesq), "squim_si_sdr": float(si_sdr)}
