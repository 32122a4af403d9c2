"""`sqcodec bench` measures every way to run a model."""

from __future__ import annotations

import json
import sys

import pytest

from sqcodec import cli


def test_every_system_is_measured(capsys) -> None:
    assert cli.main("bench --model tiny --seconds 0.3 --rounds 2 --batch 2 --json".split()) == 0
    found = json.loads(capsys.readouterr().out)
    systems = [result["system"] for result in found["results"]]
    assert systems == ["tiny", "plain network", "bfloat16", "stream, 20 ms", "stream bfloat16, 20 ms"]
    for result in found["results"]:
        for what in ("encode", "decode"):
            middle, low, high = result[f"{what}_ratio"]
            assert result[f"{what}_speed"] > 0 and 0 < low <= middle <= high
    assert found["results"][0]["encode_ratio"] == [1.0, 1.0, 1.0]


def test_without_streams(capsys) -> None:
    assert cli.main("bench --model tiny --seconds 0.1 --rounds 1 --stream 0 --json".split()) == 0
    systems = [result["system"] for result in json.loads(capsys.readouterr().out)["results"]]
    assert systems == ["tiny", "plain network", "bfloat16"]


def test_streams_of_the_exported_graphs(capsys) -> None:
    pytest.importorskip("onnxruntime")
    assert cli.main("bench --model tiny --seconds 0.3 --rounds 1 --batch 2 --onnx --json".split()) == 0
    found = {result["system"]: result for result in json.loads(capsys.readouterr().out)["results"]}
    for name in ("ONNX Runtime, 20 ms", "ONNX Runtime int8, 20 ms"):
        assert found[name]["encode_speed"] > 0 and found[name]["decode_speed"] > 0


def test_one_system_by_itself(capsys) -> None:
    assert cli.main(["bench", *"--model tiny --seconds 0.1 --rounds 1 --json --only".split(), "plain network"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [result["system"] for result in found["results"]] == ["plain network"] and 20 < found["peak_mib"] < 1e5


def test_a_missing_peer_is_left_out(capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sq_codec", None)
    assert cli.main("bench --model tiny --seconds 0.1 --rounds 1 --stream 0 --peers sq-codec --json".split()) == 0
    captured = capsys.readouterr()
    assert "sq-codec is left out" in captured.err and "pip install sq-codec" in captured.err
    assert len(json.loads(captured.out)["results"]) == 3


def test_mistakes(capsys) -> None:
    assert cli.main("bench --model tiny --seconds 0.1 --only nothing".split()) == 1
    assert "--only 'nothing' is no system here; choose one of: tiny, plain network" in capsys.readouterr().err
    assert cli.main("bench --model tiny --seconds 0".split()) == 1
    assert "--seconds takes 0.1 to 600" in capsys.readouterr().err
