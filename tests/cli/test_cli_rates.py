"""Bit rates on the command line: coding at one, cutting to a lower one, changing it in a live stream."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from cli_helpers import failure, program
from cli_helpers import speech as synthetic

import sqcodec
from sqcodec import audio, cli, container
from sqcodec.cli.token_stream import TokenFormat
from sqcodec.rates import BitRates


@pytest.fixture(autouse=True)
def nested_models(nested_home, monkeypatch) -> None:
    monkeypatch.setenv("SQCODEC_HOME", str(nested_home))


def run(*arguments: object) -> int:
    return cli.main([*map(str, arguments)])


def stream(*arguments: str, data: bytes) -> bytes:
    stdin, stdout = io.TextIOWrapper(io.BytesIO(data)), io.TextIOWrapper(io.BytesIO())
    with mock.patch.multiple(sys, stdin=stdin, stdout=stdout):
        assert cli.main(["stream", *arguments, "--model", "nested"]) == 0
        stdout.flush()
    return stdout.buffer.getvalue()  # type: ignore[attr-defined]


def test_files_at_a_rate_and_cut_to_it_are_the_same_bytes(tmp_path, capsys) -> None:
    codec = sqcodec.load("nested")
    Path("in").mkdir()
    for name, seconds, channels in (("a", 2.0, 1), ("b", 0.5, 2), ("c", 0.01, 1)):
        audio.save(f"in/{name}.wav", synthetic(seconds, channels=channels), 16000)
    assert run("encode", "in", "--out", "finest", "--model", "nested", "--bits", 16, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(line["nominal_kbps"] == pytest.approx(16 / 6 * line["channels"]) for line in lines)
    for asked, bits in ((("--kbps", 1.5), 9), (("--bits", 6), 6), (("--kbps", 99), 16), (("--kbps", "1.167"), 7)):
        assert run("encode", "in", "--out", "direct", "--model", "nested", *asked, "--force") == 0
        assert run("cut", "finest", "--out", "cut", *asked, "--force") == 0
        for name in ("a", "b", "c"):
            data = Path("direct", f"{name}.sqc").read_bytes()
            assert Path("cut", f"{name}.sqc").read_bytes() == data
            header, tokens = container.loads(data)
            assert (header.bits, header.codebook_size, header.bits_range) == (bits, 2**bits, (6, 16))
            samples = audio.load(f"in/{name}.wav")[0]
            assert np.array_equal(tokens, codec.encode(samples, bits=bits))
        assert f"{bits / 6:.3f} kbit/s nominal" in capsys.readouterr().out
    # one file at a time, in pieces, and the default rate
    assert run("encode", "in/a.wav", "one.sqc", "--model", "nested", "--bits", 9) == 0
    assert run("cut", "finest/a.sqc", "two.sqc", "--bits", 9) == 0
    assert Path("one.sqc").read_bytes() == Path("two.sqc").read_bytes()
    assert run("encode", "in/a.wav", "default.sqc", "--model", "nested") == 0
    assert container.read("default.sqc")[0].bits == 12
    assert run("cut", "default.sqc", "three.sqc", "--bits", 9) == 0
    assert Path("three.sqc").read_bytes() == Path("one.sqc").read_bytes()

    assert run("decode", "one.sqc", "out.wav") == 0
    header, tokens = container.read("one.sqc")
    expected = codec.decode(tokens, header.coded_length, bits=9).numpy()
    assert np.abs(audio.load("out.wav")[0] - np.clip(expected, -1, 1)).max() < 2**-15


def test_cutting_needs_neither_model_nor_torch(tmp_path, monkeypatch) -> None:
    audio.save("in.wav", synthetic(1.0), 16000)
    assert run("encode", "in.wav", "in.sqc", "--model", "nested") == 0
    assert run("cut", "in.sqc", "by_name.sqc", "--kbps", 1) == 0
    monkeypatch.setenv("SQCODEC_HOME", str(tmp_path / "empty"))
    code = (
        "import sys; from sqcodec.cli import main; status = main(sys.argv[1:]); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = program("cut", "-", "--kbps", 1, code=code, input=Path("in.sqc").read_bytes())
    assert done.returncode == 0 and done.stdout == Path("by_name.sqc").read_bytes()


def test_what_cannot_be_cut(tmp_path, capsys) -> None:
    audio.save("in.wav", synthetic(0.3), 16000)
    assert run("encode", "in.wav", "low.sqc", "--model", "nested", "--bits", 8) == 0
    assert run("encode", "in.wav", "plain.sqc", "--model", "tiny") == 0
    capsys.readouterr()
    for source, asked, message in (
        ("low.sqc", ("--bits", 9), "low.sqc: it has 8 bits a token (1.333 kbit/s), fewer than 9"),
        ("low.sqc", ("--bits", 3), "Tokens of 3 bits: allowed are 1 to 2.667 kbit/s, 6 to 16 bits a token"),
        ("low.sqc", ("--kbps", "0.5"), "A rate of 0.5 kbit/s: allowed are"),
        ("low.sqc", ("--kbps", "nan"), "A rate of nan kbit/s"),
        ("plain.sqc", ("--bits", 9), "tokens of 'tiny' cannot be cut: the model has one rate"),
    ):
        assert run("cut", source, "out.sqc", *asked) == 1
        errors = failure(capsys)
        assert message in errors and len(errors.splitlines()) == 1 and not Path("out.sqc").exists()
    assert run("cut", "low.sqc", "low.sqc", "--bits", 6) == 1 and "the same file" in failure(capsys)
    assert run("cut", "low.sqc", "--bits", 6) == 2 and "name the output" in failure(capsys)
    with pytest.raises(SystemExit):
        run("cut", "low.sqc", "out.sqc")
    assert "--kbps --bits is required" in failure(capsys)
    assert run("encode", "in.wav", "out.sqc", "--model", "tiny", "--kbps", 2) == 1
    assert "Model 'tiny' cannot be asked for 2 kbit/s: it has one rate" in failure(capsys)


def test_models_and_files_say_their_rates(tmp_path, capsys) -> None:
    audio.save("in.wav", synthetic(0.3), 16000)
    assert run("encode", "in.wav", "--model", "nested", "--kbps", 2.1) == 0
    capsys.readouterr()
    assert run("info", "nested", "in.sqc", "--json") == 0
    model, file = map(json.loads, capsys.readouterr().out.splitlines())
    rates = "1 to 2.667 kbit/s, 6 to 16 bits a token"
    assert (model["bits"], model["rates"], file["bits"], file["rates"]) == (12, rates, 12, rates)
    assert file["nominal_kbps"] == 2 and run("info", "in.sqc") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "nominal rate: 2.000 kbit/s" in lines and f"rates of the model: {rates}" in lines
    assert run("info", "tiny", "--json") == 0 and "rates" not in json.loads(capsys.readouterr().out)
    assert run("models") == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("nested ")]
    assert "1.000-2.667" in line
    assert run("models", "--json") == 0
    [entry] = [entry for entry in map(json.loads, capsys.readouterr().out.splitlines()) if entry["name"] == "nested"]
    assert entry["bits"] == [6, 16] and entry["kbps"] == pytest.approx([bits / 6 for bits in range(6, 17)])


# ---- streams


class Microphone(io.RawIOBase):
    """Bytes in pieces, and what happens between them."""

    def __init__(self, pieces: list) -> None:
        self._pieces = pieces

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while self._pieces and callable(self._pieces[0]):
            self._pieces.pop(0)()
        piece = self._pieces.pop(0) if self._pieces else b""
        piece, rest = piece[: len(buffer)], piece[len(buffer) :]
        if rest:
            self._pieces.insert(0, rest)
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_stream_at_a_rate() -> None:
    samples = synthetic(0.5, channels=2)
    data = (samples.T * 32767).astype("<i2").tobytes()
    exact = np.frombuffer(data, "<i2").reshape(-1, 2).T.astype(np.float32) / 32768
    codec = sqcodec.load("nested")
    for asked, bits in ((["--kbps", "1.5"], 9), (["--bits", "16"], 16), ([], 12)):
        encoded = stream("encode", "--channels", "2", *asked, data=data)
        assert encoded[:8] == b"SQCS\x02\x02" + bytes([bits, 0])
        tokens = codec.encode(exact, bits=bits)
        assert len(encoded) == 16 + tokens.shape[1] // 2 * -(-4 * bits // 8)
        expected = codec.decode(tokens, exact.shape[1], bits=bits).numpy()
        for found in (
            stream("decode", "--output", "f32", data=encoded),
            stream("roundtrip", "--channels", "2", "--output", "f32", *asked, data=data),
        ):
            assert np.array_equal(np.frombuffer(found, "<f4").reshape(-1, 2).T[:, : exact.shape[1]], expected)


def test_the_rate_of_a_stream_follows_a_file(tmp_path, capsys) -> None:
    samples = synthetic(1.2)
    data = (samples.T * 32767).astype("<i2").tobytes()
    exact = np.frombuffer(data, "<i2")[None].astype(np.float32) / 32768
    codec = sqcodec.load("nested")
    frame, control = 2 * 192, Path("rate")
    control.write_text("2.667\n")

    def live(what: str, output: str) -> bytes:
        cuts = [40 * frame, 70 * frame + 5]
        pieces: list = [data[: cuts[0]], lambda: control.write_text("1.0"), data[cuts[0] : cuts[1]]]
        pieces += [lambda: control.write_text("lots"), data[cuts[1] : cuts[1] + frame]]
        pieces += [lambda: control.write_text("2"), data[cuts[1] + frame :]]
        control.write_text("2.667\n")
        stdin, stdout = io.TextIOWrapper(io.BufferedReader(Microphone(pieces))), io.TextIOWrapper(io.BytesIO())
        arguments = ["stream", what, "--control", "rate", "--model", "nested", "--output", output]
        with mock.patch.multiple(sys, stdin=stdin, stdout=stdout):
            assert cli.main(arguments) == 0
            stdout.flush()
        problem = failure(capsys)
        assert "rate: 'lots' is no number: allowed are 1 to 2.667 kbit/s" in problem and "stays at 1 kbit/s" in problem
        return stdout.buffer.getvalue()  # type: ignore[attr-defined]

    encoded = live("encode", "s16")
    tokens = TokenFormat(2**12, 2, 1, codec.weights_hash, codec.config.rates)
    body = io.BytesIO(encoded)
    tokens.check(body.read(16), codec.matches)
    pieces = [(tokens.bits, piece) for piece in tokens.read(body)]
    finest, count = codec.encode(exact, bits=16).numpy(), 0
    for bits, piece in pieces:
        assert np.array_equal(piece, finest[:, count : count + piece.shape[1]] >> (16 - bits))
        count += piece.shape[1]
    assert count == finest.shape[1] and {bits for bits, _ in pieces} == {16, 6, 12}
    decoded = np.frombuffer(stream("decode", "--output", "f32", data=encoded), "<f4")
    assert np.array_equal(decoded[: exact.shape[1]], np.frombuffer(live("roundtrip", "f32"), "<f4"))


def test_stream_mistakes(capsys, tmp_path) -> None:
    for arguments, message in (
        (["decode", "--bits", "9", "--model", "nested"], "decode takes its rate from the tokens"),
        (["encode", "--control", "no_such_file", "--model", "nested"], "no_such_file: No such file"),
        (["encode", "--control", "no_such_file", "--model", "tiny"], "model 'tiny' has one rate, 2.807 kbit/s"),
        (["encode", "--bits", "5", "--model", "nested"], "Tokens of 5 bits"),
    ):
        stdin, stdout = io.TextIOWrapper(io.BytesIO(bytes(400))), io.TextIOWrapper(io.BytesIO())
        with mock.patch.multiple(sys, stdin=stdin, stdout=stdout):
            assert cli.main(["stream", *arguments]) in (1, 2)
        assert message in failure(capsys)


def test_records_of_nested_tokens() -> None:
    rates = BitRates(4, 16, 100.0)
    for bits, digits in ((12, 2), (8, 1), (9, 2), (16, 1), (4, 2)):  # most fill their bytes, so that 255 occurs
        writer = TokenFormat(2**bits, digits, 1, "ab" * 32, rates)
        reader = TokenFormat(2**bits, digits, 1, "ab" * 32, rates)
        values = np.random.default_rng(0).integers(2**bits - 2, 2**bits, (1, 50 * digits))
        data = writer.dumps(values) + writer.change(7) + writer.change(bits) + writer.dumps(values[:, :digits])
        found = list(reader.read(io.BytesIO(data)))
        assert np.array_equal(np.concatenate(found, axis=1), np.concatenate([values, values[:, :digits]], axis=1))
    one_by_one = io.BufferedReader(Microphone([bytes([byte]) for byte in data]), 1)
    reader = TokenFormat(2**4, 2, 1, "ab" * 32, rates)
    assert np.array_equal(np.concatenate(list(reader.read(one_by_one)), axis=1)[:, :100], values)
    for damage, message in ((b"\xff", "cut off in a record"), (b"\xff\x4d", "damaged token stream: tokens of 77 bits")):
        with pytest.raises(ValueError, match=message):
            list(TokenFormat(2**8, 1, 1, "ab" * 32, rates).read(io.BytesIO(b"\x01" + damage)))
