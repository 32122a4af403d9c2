"""What makes ``trust_remote_code`` work: a module in the saved folder, and where its classes are named."""

from __future__ import annotations

import os
from pathlib import Path

MODULE = "sqcodec_hf"

_CODE = '''"""For AutoModel and AutoFeatureExtractor with trust_remote_code=True; needs: pip install 'sqcodec[lm]'."""

from sqcodec.hf import SQCodecConfig, SQCodecFeatureExtractor, SQCodecModel

__all__ = ["SQCodecConfig", "SQCodecFeatureExtractor", "SQCodecModel"]
'''


def auto_map(**classes: str) -> dict[str, str]:
    """``auto_map(AutoModel="SQCodecModel")`` as transformers wants it in its JSON files."""
    return {auto: f"{MODULE}.{name}" for auto, name in classes.items()}


def write_code(folder: str | os.PathLike[str]) -> None:
    """Puts the module into a saved folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / f"{MODULE}.py").write_text(_CODE, encoding="utf-8")
