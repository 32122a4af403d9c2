"""Models on the model hub, by `huggingface_hub` (extra `hub`): one's own, and the authors' published weights.

A repository of ours, "owner/name", is a model folder. `zhai-lw/SQCodec` and `zhai-lw/L3AC` hold
`weights/<name>.<version>/{part}.pt`. Another hub with the same routes is used where the environment says `HF_ENDPOINT`.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

from sqcodec.compat import PARTS
from sqcodec.config import CONFIG_NAME, WEIGHTS_NAME, published_names
from sqcodec.entropy import PREDICTOR_NAME
from sqcodec.extras import require

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
CARD_NAME = "README.md"
CARD_HEAD = """---
license: {licence}
library_name: sqcodec
pipeline_tag: audio-to-audio
tags: [speech, neural-audio-codec, speech-tokens]
---
"""

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


def is_repository(model: object) -> bool:
    """Whether a model is named as "owner/name" is on the hub, and there is no folder "owner" here that may be meant."""
    return isinstance(model, str) and bool(REPOSITORY.fullmatch(model)) and not Path(model).parent.exists()


def fetch_model(repository: str, cache_dir: str | Path | None = None) -> Path:
    """The model folder in a repository, as it is now or, without a connection, as it is in the cache.

    Raises ImportError and ConnectionError as ``fetch_published``.
    """
    folder = _fetch(repository, CONFIG_NAME, cache_dir, fixed=False).parent
    _fetch(repository, WEIGHTS_NAME, cache_dir, fixed=False)
    _fetch(repository, PREDICTOR_NAME, cache_dir, fixed=False, needed=False)
    return folder


def push_folder(folder: Path, repository: str, private: bool, message: str) -> str:
    """Uploads a model folder and returns its address; the repository is made where there is none.

    Raises:
        ValueError: not "owner/name".
        ImportError: `huggingface_hub` is not installed.
        ConnectionError: the hub refused, or could not be reached.
    """
    if not REPOSITORY.fullmatch(repository):
        raise ValueError(f"Repository {repository!r}: give owner/name, such as 'anna/speech-3k'.")
    hub, endpoint = _hub(), os.environ.get("HF_ENDPOINT") or None
    try:
        api = hub.HfApi(endpoint=endpoint)
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository, commit_message=message)
    except Exception as error:  # those of its HTTP libraries share no base class
        raise ConnectionError(
            f"Cannot upload to {repository} on {endpoint or 'the model hub'}: {_first_line(error)} Check the "
            "connection and the token (HF_TOKEN, or 'hf auth login')."
        ) from error
    return str(address)


def _hub() -> Any:
    yourself = "Or download the model's files yourself and give their folder."
    return require("huggingface_hub", "hub", "The model hub", yourself)


def _fetch(
    repository: str, file: str, cache_dir: str | Path | None, fixed: bool = True, needed: bool = True
) -> Path:
    """``fixed``: the file does not change, so that what is cached needs no look at the hub. One that is not ``needed``
    may be missing."""
    hub, endpoint = _hub(), os.environ.get("HF_ENDPOINT") or None
    download = partial(hub.hf_hub_download, repository, file, cache_dir=cache_dir, endpoint=endpoint)
    try:
        if fixed:
            return Path(download(local_files_only=True))
    except hub.errors.LocalEntryNotFoundError:
        pass
    try:
        return Path(download())
    except Exception as error:  # those of its HTTP libraries share no base class
        if not needed and isinstance(error, hub.errors.EntryNotFoundError):
            return Path()
        raise ConnectionError(
            f"Cannot download {file} of {repository} from {endpoint or 'the model hub'}, "
            f"and it is not in the cache: {_first_line(error)} Check the name and the connection (HF_ENDPOINT names a "
            "mirror), or download the model's files elsewhere and give their folder."
        ) from error


def _first_line(error: BaseException) -> str:
    """What went wrong first, in one line: the hub's own message often hides it."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if line.endswith(".") else line + "."
