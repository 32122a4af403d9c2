"""The code files of tests/vectors/files read as they always did (docs/conformance.md)."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sqcodec
from sqcodec import container
from sqcodec.codec import Codec
from sqcodec.entropy import Predictor
from sqcodec.registry import find_by_hash

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests/vectors/files"
sys.path.insert(0, str(ROOT / "scripts"))
from write_vectors import PREDICTORS, describe  # noqa: E402

FORMER = ROOT / "tests/vectors/former"
"""Of models that have shipped under the same names before; never written anew."""

FORMAT, MODELS = (json.loads((FILES / f"{name}.json").read_text("utf-8")) for name in ("format", "models"))
FORMER_MODELS = json.loads((FORMER / "models.json").read_text("utf-8"))
TOLERANCE = 2.0**-12
"""Of samples, full scale 1: two steps of the 16-bit reference for its rounding, the rest for sums in another order."""

model = cache(sqcodec.load)


def test_every_version_and_payload_is_there() -> None:
    there = {(entry["version"], entry["payload"]) for entry in FORMAT.values() if "refused" not in entry}
    assert there == {(1, 0), (1, 1), (2, 0), (2, 1)}
    assert {path.name for path in FILES.glob("*.sqc")} == {*FORMAT, *MODELS}


@pytest.mark.parametrize("name", FORMAT)
def test_files_of_the_format(name) -> None:
    data, entry = (FILES / name).read_bytes(), FORMAT[name]
    if "refused" in entry:
        with pytest.raises(container.ContainerError) as error:
            container.loads(data)
        assert str(error.value) == entry["refused"]
        return
    used = Predictor.load(PREDICTORS / f"{entry['predictor']}.safetensors") if entry["predictor"] else None
    header, tokens = container.loads(data, lambda header: used)
    assert describe(data, header, tokens, predictor=entry["predictor"]) == entry
    if entry["payload"] == container.PAYLOAD_MIXED_RADIX:
        assert container.dumps(header, tokens) == data
        if entry["bits"] == 9:
            assert container.cut(data, bits=4) == (FILES / "format-bits4-fixed.sqc").read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_files_of_the_shipped_models(name) -> None:
    codec = model(MODELS[name]["model"])
    assert codec.matches(MODELS[name]["hash"]), "the weights have changed: run python scripts/write_vectors.py"
    check(FILES, name, MODELS[name], codec)


@pytest.mark.parametrize("name", FORMER_MODELS)
def test_files_of_weights_that_shipped_before(name) -> None:
    """Their models have other names today, and are found by their hash."""
    folder = find_by_hash(FORMER_MODELS[name]["hash"])
    assert folder is not None and folder.name != FORMER_MODELS[name]["model"]
    check(FORMER, name, FORMER_MODELS[name], model(folder.name))


def check(folder: Path, name: str, entry: dict, codec: Codec) -> None:
    data = (folder / name).read_bytes()
    header, tokens = container.loads(data, lambda header: codec.predictor)
    assert describe(data, header, tokens, audio=entry["audio"]) == entry
    if entry["payload"] == container.PAYLOAD_MIXED_RADIX:
        wanted = soundfile.read(folder / entry["audio"], dtype="float32")[0]
        found = codec.decode(tokens, header.coded_length, bits=header.bits)[0].numpy()
        assert found.shape == wanted.shape and np.abs(found - wanted).max() < TOLERANCE
