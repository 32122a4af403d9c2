"""`sqcodec demo`: the page in a real Chromium, whose microphone plays a real clip.

What the page codes is what Python codes: token for token, byte for byte in files, in clips and live.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from entropy_helpers import random_predictor

from sqcodec import audio, cli, container
from sqcodec.cli import demo
from sqcodec.cli.jobs import code_header
from sqcodec.codec import Codec
from sqcodec.entropy import PREDICTOR_NAME, BlockWriter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VECTORS = Path(__file__).parent / "vectors"
PREDICTOR = random_predictor((2,) * 16)
SECONDS = 2


@pytest.fixture(scope="module")
def clip(tmp_path_factory, speech: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("clip") / "talk.wav"
    audio.save(path, speech[16000:][: SECONDS * 16000 + 17], 16000)
    return path


@pytest.fixture(scope="module")
def address(nested_home: Path, tmp_path_factory) -> Iterator[str]:
    """Of the real program, which serves the models "nested" and "tiny"."""
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    home = tmp_path_factory.mktemp("demo_home")
    shutil.copytree(nested_home / "models", home / "models")
    PREDICTOR.save(home / "models" / "nested" / PREDICTOR_NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQCODEC_HOME", str(home))
        try:
            demo.fetch_runtime(home / "demo" / "ort")
        except OSError as error:
            pytest.skip(f"onnxruntime-web is not to be had here: {error}")
        command = [sys.executable, "-m", "sqcodec", "demo", "--no-browser", "--port", "0"]
        command += ["--model", "nested", "--model", "tiny"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("http://localhost:"), line
            yield line.split()[0]
            server.terminate()


@pytest.fixture(scope="module")
def browser(clip: Path) -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    arguments = [
        "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--no-first-run", "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={clip}",
    ]  # fmt: skip
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="module")
def page(browser, address: str) -> Iterator:
    """Open and ready; whatever goes wrong in it fails the test that asks next."""
    opened = browser.new_page()
    opened.set_default_timeout(120_000)
    opened.goto(address)
    opened.wait_for_function("() => /Ready/.test(document.getElementById('status').textContent)")
    yield opened
    opened.close()


def text_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def finish(page) -> None:
    """Waits until all is done that was asked for."""
    page.evaluate("() => sqcodec.idle")
    assert page.query_selector(".error") is None, page.inner_text("#status")


def choose_model(page, name: str) -> None:
    page.select_option("#model", name)
    finish(page)
    assert page.evaluate("() => sqcodec.model.name") == name


def open_file(page, path: Path) -> None:
    """As a user does; until it is decoded."""
    page.set_input_files("#file", path)
    finish(page)


def kept(page, what: str) -> np.ndarray:
    """An array of the clip that the page holds, channel by channel."""
    return np.array(page.evaluate(f"() => sqcodec.clip.{what}.map((row) => Array.from(row))"))


def saved(page, button: str, path: Path) -> Path:
    with page.expect_download() as download:
        page.click(button)
    download.value.save_as(path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("levels", "size", "bits"), [((7,) * 6, 7**6, None), (None, 1000, None), (None, 2**12, (6, 16))]
)
def test_files_are_those_of_the_container(page, channels: int, levels, size: int, bits) -> None:
    tokens = np.random.default_rng(0).integers(0, size, (channels, 700))
    header = container.CodeHeader(
        "tïny", "0123456789abcdef", 16000, 44100, 123456, channels, 700, size, levels, bits, 96 if bits else 0
    )
    data = container.dumps(header, tokens)
    found = page.evaluate(
        """async (text) => {
          const { readSqc, writeSqc } = await import("./container.js");
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const { header, tokens } = await readSqc(bytes);
          const damage = [];
          for (const place of [0, 9, 30, bytes.length - 9]) {
            const other = bytes.slice();
            other[place] ^= 4;
            damage.push(await readSqc(other).then(() => "read", (error) => error.message));
          }
          damage.push(await readSqc(bytes.slice(0, -1)).then(() => "read", (error) => error.message));
          const written = Array.from(writeSqc(header, tokens));
          return { tokens: tokens.map((row) => Array.from(row)), written, damage };
        }""",
        base64.b64encode(data).decode(),
    )
    assert (np.array(found["tokens"]) == tokens).all()
    assert bytes(found["written"]) == data
    assert "read" not in found["damage"]


def test_the_conformance_vectors(page) -> None:
    """docs/conformance.md: every file of the format is read, with its predictor, or refused."""
    entries = json.loads((VECTORS / "files" / "format.json").read_text())
    entries = {name: entry for name, entry in entries.items() if entry.get("codebook_size", 0) < 2**53}
    predictors = {path.stem: text_of(path) for path in (VECTORS / "compact").glob("*.safetensors")}
    found = page.evaluate(
        """async ([files, predictors]) => {
          const { readSqc } = await import("./container.js");
          const { Predictor } = await import("./predictor.js");
          const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const results = {};
          for (const [name, [text, predictor]] of Object.entries(files)) {
            const read = readSqc(bytes(text), () => Predictor.load(bytes(predictors[predictor])));
            results[name] = await read.then(({ tokens }) => tokens.map((row) => Array.from(row)), () => "refused");
          }
          return results;
        }""",
        [
            {name: [text_of(VECTORS / "files" / name), entry.get("predictor")] for name, entry in entries.items()},
            predictors,
        ],
    )
    for name, entry in entries.items():
        if "refused" in entry:
            assert found[name] == "refused", name
        else:
            digest = hashlib.sha256(np.array(found[name], "<i8").tobytes()).hexdigest()
            assert digest == entry["tokens_sha256"], name


def test_a_clip_is_coded_as_python_does(page, nested: Codec, clip: Path, tmp_path: Path) -> None:
    choose_model(page, "nested")
    open_file(page, clip)
    samples, _ = audio.load(clip)
    expected = nested.encode(samples, bits=16).numpy()
    finest = kept(page, "finest")
    assert finest.shape == expected.shape and (finest == expected).mean() > 0.99  # round-off at a cell's border
    data = saved(page, "#save-sqc", tmp_path / "talk.sqc").read_bytes()
    header, tokens = container.loads(data)
    assert header.bits == 12 and (tokens == finest.astype(int) >> 4).all()
    assert header.matches(nested.weights_hash) and header.num_samples == samples.shape[1]
    wav, rate = audio.load(saved(page, "#save-wav", tmp_path / "talk.wav"))
    decoded = nested.decode(tokens, samples.shape[1], bits=12).numpy()
    assert rate == 16000 and np.abs(wav - np.clip(decoded, -1, 1)).max() < 1e-4


def test_the_slider_cuts_tokens(page, clip: Path) -> None:
    choose_model(page, "nested")
    open_file(page, clip)
    finest, slider = kept(page, "finest").astype(int), page.locator("#rate")
    assert (slider.get_attribute("min"), slider.get_attribute("max"), slider.input_value()) == ("6", "16", "12")
    for bits in (6, 16):
        slider.fill(str(bits))
        finish(page)
        assert (kept(page, "tokens") == finest >> (16 - bits)).all()
        assert f"of {bits} bits" in page.inner_text("#rate-text")
    choose_model(page, "tiny")
    assert slider.is_disabled() and "one rate" in page.inner_text("#rate-hint")
    choose_model(page, "nested")


def test_files_of_the_command_line_decode(page, nested: Codec, tiny: Codec, clip: Path, tmp_path: Path) -> None:
    samples, _ = audio.load(clip)
    stereo = np.concatenate([samples, samples[:, ::-1]])
    for codec, bits in ((nested, 9), (tiny, None)):
        tokens = codec.encode(stereo, bits=bits).numpy()
        header = code_header(codec, 16000, stereo.shape[1], 2, tokens.shape[1], bits)
        about = page.evaluate(f"async () => (await fetch('models/{codec.name}/model.json')).json()")
        header = replace(header, weights_hash=about["weights_hash"])
        container.write(tmp_path / "theirs.sqc", header, tokens)
        open_file(page, tmp_path / "theirs.sqc")
        assert page.input_value("#model") == codec.name
        assert (kept(page, "tokens") == tokens).all()
        expected = codec.decode(tokens, stereo.shape[1], bits=bits).numpy()
        assert np.abs(kept(page, "decoded") - expected).max() < 1e-4
        assert saved(page, "#save-sqc", tmp_path / "again.sqc").read_bytes() == (tmp_path / "theirs.sqc").read_bytes()
    tokens = nested.encode(stereo, bits=9).numpy()
    header = code_header(nested, 16000, stereo.shape[1], 2, tokens.shape[1], 9)
    writer = BlockWriter(PREDICTOR, 2, 2**9)
    writer.push(tokens)
    compact = container.join(replace(header, payload_kind=container.PAYLOAD_ENTROPY), writer.flush())
    (tmp_path / "compact.sqc").write_bytes(compact)
    open_file(page, tmp_path / "compact.sqc")
    assert (kept(page, "tokens") == tokens).all()
    unknown = replace(header, weights_hash="f" * 16, model="elsewhere")
    container.write(tmp_path / "unknown.sqc", unknown, tokens)
    page.set_input_files("#file", tmp_path / "unknown.sqc")
    page.wait_for_selector("#status.error")
    assert "model 'elsewhere'" in page.inner_text("#status")


def test_live_speech_is_coded_as_the_recording_is(page, clip: Path) -> None:
    choose_model(page, "nested")
    page.click("#live")
    page.wait_for_function("() => sqcodec.session?.count > 30 && sqcodec.session.latency")
    assert "Latency" in page.inner_text("#live-numbers")
    latency = page.evaluate("() => sqcodec.session.latency")
    assert 0.07 < latency < 10  # lookahead 30 ms and pieces of 48 ms; a busy machine is slower
    skipped = page.evaluate("() => sqcodec.session.skipped")
    page.click("#stop")
    finish(page)
    live, whole = (np.array(page.evaluate(f"() => Array.from(sqcodec.clip.{name})")) for name in ("live", "finest[0]"))
    if not skipped:
        assert len(live) > 200 and (whole[: len(live)] == live).mean() > 0.99
    heard, (played,) = kept(page, "original")[0], audio.load(clip)[0]
    spectrum = np.fft.rfft(heard, 2**18) * np.fft.rfft(played, 2**18).conj()
    match = np.fft.irfft(spectrum).max() / np.linalg.norm(played) / np.linalg.norm(heard)
    assert match > 0.1  # the microphone played the clip, from some point on, with gaps on a busy machine


def test_original_and_decoded_play_at_one_place(page, clip: Path) -> None:
    open_file(page, clip)
    page.click("#play")
    page.wait_for_function("() => parseFloat(document.getElementById('time').textContent) > 0.2")
    page.click("#heard [data-heard=original]")
    assert page.inner_text("#heard [aria-pressed=true]") == "A: original"
    page.wait_for_function("() => document.getElementById('play').textContent === 'Play'")  # its end


def test_it_fits_a_phone(page, clip: Path) -> None:
    open_file(page, clip)
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1100, "height": 900})


def test_threads_are_allowed(page) -> None:
    assert page.evaluate("() => crossOriginIsolated")


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("SQCODEC_HOME", str(tmp_path))
    assert cli.main(["demo", "--no-browser"]) == 1
    assert "sqcodec demo --fetch" in capsys.readouterr().err
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert cli.main(["demo", "--fetch"]) == 1
    assert "npm is not here" in capsys.readouterr().err
    assert cli.main(["demo", "--port", "70000"]) == 1
    assert "0 to 65535" in capsys.readouterr().err
