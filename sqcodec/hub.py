"""Download of the authors' published weights from the model hub, cached by `huggingface_hub` (extra `hub`).

`zhai-lw/SQCodec` and `zhai-lw/L3AC` hold `weights/<name>.<version>/{part}.pt`. Another hub with the same
routes is used where the environment says `HF_ENDPOINT`.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from sqcodec.compat import PARTS
from sqcodec.config import published_names

REPOSITORIES = {"sqcodec": ("zhai-lw/SQCodec", "v0"), "l3ac": ("zhai-lw/L3AC", "v1")}
"""Family to repository and version of its weights."""


def fetch_published(name: str, cache_dir: str | Path | None = None) -> Path:
    """The folder with the five `.pt` files of a published model, downloaded where it is not in the cache.

    Args:
        name: a published configuration, such as "l3ac-3kbps".
        cache_dir: None for the cache of `huggingface_hub` (`HF_HOME` and `HF_HUB_CACHE` say where it is).

    Raises:
        ValueError: no such model.
        ImportError: `huggingface_hub` is not installed.
        ConnectionError: a file is not in the cache and could not be had.
    """
    if name not in published_names():
        raise ValueError(f"Unknown published model {name!r}. Choose one of: {', '.join(published_names())}")
    family, model = name.split("-", 1)
    repository, version = REPOSITORIES[family]
    folder = f"weights/{model}.{version}"
    files = [_fetch(repository, f"{folder}/{part}.pt", cache_dir) for part in PARTS]
    return files[0].parent


def _fetch(repository: str, file: str, cache_dir: str | Path | None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(
            "Downloading published models needs huggingface_hub: pip install 'sqcodec[hub]'. "
            "Or download the five .pt files yourself and give their folder."
        ) from error
    endpoint = os.environ.get("HF_ENDPOINT") or None
    download = partial(hf_hub_download, repository, file, cache_dir=cache_dir, endpoint=endpoint)
    try:
        # published weights carry a version and do not change: what is cached needs no look at the hub
        return Path(download(local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(download())
    except Exception as error:  # those of its HTTP libraries share no base class
        raise ConnectionError(
            f"Cannot download {file} of {repository} from {endpoint or 'the model hub'}, "
            f"and it is not in the cache: {_first_line(error)} Check the connection (HF_ENDPOINT names a "
            "mirror), or download the five .pt files elsewhere and give their folder."
        ) from error


def _first_line(error: BaseException) -> str:
    """What went wrong first, in one line: the hub's own message often hides it."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if line.endswith(".") else line + "."
