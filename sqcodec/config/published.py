"""The published configurations, by name."""

from __future__ import annotations

from pathlib import Path

from sqcodec.config.waveform import WaveformConfig

PUBLISHED_DIR = Path(__file__).parent.parent / "configs" / "published"


def published_names() -> list[str]:
    """Names of the published configurations that `published_config` reads."""
    return sorted(path.stem for path in PUBLISHED_DIR.glob("*.toml"))


def published_config(name: str) -> WaveformConfig:
    """The published SQCodec or L3AC configuration of this name, such as "l3ac-3kbps"."""
    if name not in published_names():
        raise ValueError(f"Unknown published model {name!r}. Choose one of: {', '.join(published_names())}")
    config = WaveformConfig.from_toml(PUBLISHED_DIR / f"{name}.toml")
    assert isinstance(config, WaveformConfig)
    return config
