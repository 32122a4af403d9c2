"""The command from clips to reports: resuming, broken clips and systems, baselines, what the reports hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from entropy_helpers import random_predictor

from sqcodec.entropy import PREDICTOR_NAME
from sqcodec.evaluation.baselines import ogg_packet_sizes
from sqcodec.evaluation.evaluate import Options, evaluate
from sqcodec.evaluation.report import publish
from sqcodec.evaluation.results import Results
from sqcodec.evaluation.scorers import all_metrics, core_metrics
from sqcodec.evaluation.systems import make_system, system_key
from sqcodec.evaluation.utterances import list_utterances

RATE = 16000
METRICS = ["pesq_wb", "stoi"]


@pytest.fixture
def clips(tmp_path: Path, speech: np.ndarray) -> Path:
    """Three clips of 2 s, one of silence, one that is no audio, and somebody's outputs for some of them."""
    folder = tmp_path / "clips"
    outputs = tmp_path / "outputs"
    for path in (folder / "anna", folder / "ben", outputs):
        path.mkdir(parents=True)
    for index, speaker in enumerate(("anna", "anna", "ben")):
        clip = speech[index * 2 * RATE : (index + 1) * 2 * RATE]
        soundfile.write(folder / speaker / f"clip{index}.wav", clip, RATE)
        soundfile.write(outputs / f"clip{index}.wav", np.concatenate([np.zeros(80), 0.5 * clip]), RATE)
    soundfile.write(folder / "ben" / "silence.wav", np.zeros(RATE), RATE)
    soundfile.write(outputs / "silence.wav", np.zeros(RATE), RATE)
    (folder / "ben" / "text.wav").write_text("not audio")
    return folder


def options(clips: Path, systems: list[str], **values: object) -> Options:
    return Options(str(clips), systems, clips.parent / "out", **{"metrics": METRICS, "jobs": 1, **values})


def test_a_run_with_broken_clips_has_a_row_for_each(clips: Path) -> None:
    (clips.parent / "outputs" / "clip1.wav").unlink()
    results = evaluate(options(clips, ["original", f"dir:theirs={clips.parent / 'outputs'}"]))
    rows = {(row.system, row.utterance): row for row in results.rows}
    assert len(rows) == 10
    assert rows["theirs", "clip0"].status == "ok" and rows["theirs", "clip0"].delay == 80
    assert rows["theirs", "clip0"].scores["pesq_wb"] > 4.5  # delay undone, level does not count
    assert rows["theirs", "clip1"].status == "failed" and "no file named 'clip1'" in rows["theirs", "clip1"].error
    assert rows["theirs", "text"].status == "unreadable" and rows["theirs", "text"].error
    assert rows["theirs", "silence"].status == "ok" and "silent" in rows["theirs", "silence"].reasons["pesq_wb"]
    summary = results.summary["theirs"]
    assert summary["failed"] == 2 and summary["metrics"]["stoi"]["count"] == 2
    assert results.breakdowns["speaker"]["ben"]["theirs"]["stoi"]["count"] == 1


def test_an_interrupted_run_goes_on_where_it_stopped(clips: Path) -> None:
    systems = ["original", f"dir:theirs={clips.parent / 'outputs'}"]
    whole = evaluate(options(clips, systems))
    rows = clips.parent / "out" / "rows.jsonl"
    lines = rows.read_text().splitlines()
    ours = [line for line in lines if json.loads(line)["status"] == "ok"]
    marked = {**json.loads(ours[0]), "notes": ["kept"]}
    rows.write_text(json.dumps(marked) + "\n" + ours[1][: len(ours[1]) // 2])  # killed while writing
    counts: list[tuple[int, int]] = []
    again = evaluate(options(clips, systems), lambda done, total: counts.append((done, total)))
    assert counts[0] == (1, 10) and counts[-1] == (10, 10)
    kept = next(row for row in again.rows if (row.system, row.utterance) == (marked["system"], marked["utterance"]))
    assert kept.notes == ["kept"]
    assert again.summary["theirs"]["metrics"] == whole.summary["theirs"]["metrics"]


def test_more_metrics_score_what_was_coded_before(clips: Path) -> None:
    system = f"dir:theirs={clips.parent / 'outputs'}"
    first = evaluate(options(clips, [system]))
    for path in (clips.parent / "outputs").glob("clip*.wav"):
        path.touch()  # the outputs' folder has changed: it is coded again
    assert evaluate(options(clips, [system])).summary["theirs"]["metrics"] == first.summary["theirs"]["metrics"]
    more = evaluate(options(clips, [system], metrics=[*METRICS, "si_sdr"]))
    assert more.summary["theirs"]["metrics"]["stoi"] == first.summary["theirs"]["metrics"]["stoi"]
    assert more.summary["theirs"]["metrics"]["si_sdr"]["count"] == 3


def test_processes_give_what_one_gives(clips: Path) -> None:
    one = evaluate(options(clips, ["original"]))
    shutil.rmtree(clips.parent / "out")
    two = evaluate(options(clips, ["original"], jobs=2))
    assert [row.scores for row in one.rows] == [row.scores for row in two.rows]


def test_a_missing_tool_is_reported_and_the_rest_goes_on(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    results = evaluate(options(clips, ["original", "opus:6", "codec2:3200"]))
    assert "apt-get install opus-tools" in results.left_out["opus:6"]
    assert "c2enc" in results.left_out["codec2:3200"] and list(results.systems) == ["original"]
    with pytest.raises(ImportError, match="opusenc"):
        evaluate(options(clips, ["opus:6"], strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [("oggus:6", "Unknown system 'oggus:6'"), ("opus:3", "choose 6 to 256"), ("codec2:3300", "choose one of 3200"),
     ("speex:11", "choose 0 to 10"), ("mp3:17", "choose one of 8"), ("dir:x", "dir:NAME=PATH")],
)  # fmt: skip
def test_a_wrong_system_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_system(text)


@pytest.mark.parametrize(
    ("text", "tool", "rate"),
    [("opus:12", "opusenc", 12000), ("codec2:3200", "c2enc", 3200), ("speex:4", "speexenc", 12800),
     ("mp3:16", "lame", 16000)],
)  # fmt: skip
def test_baselines_code_speech(speech: np.ndarray, tmp_path: Path, text: str, tool: str, rate: int) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    soundfile.write(tmp_path / "speech.wav", speech[: 8 * RATE], RATE)
    (utterance,) = list_utterances(tmp_path)
    system = make_system(text)
    coded = system.code(utterance)
    assert system.info().bit_rate == rate
    assert coded.payload_bits / 8 == pytest.approx(rate, rel=0.15)
    assert abs(len(coded.samples) / coded.sample_rate - 8) < 0.15
    assert coded.file_bits >= coded.payload_bits


def test_ogg_packets_are_counted_over_pages() -> None:
    """Two pages: a packet of 255 + 10 bytes, which is two segments, and one of 3."""
    page = b"OggS" + bytes(22)
    data = page + bytes([2, 255, 10]) + bytes(265) + page + bytes([1, 3]) + bytes(3)
    assert ogg_packet_sizes(data) == [265, 3]
    with pytest.raises(ValueError, match="byte 0"):
        ogg_packet_sizes(b"RIFF" + bytes(40))


def test_keys_are_safe_as_folders() -> None:
    assert system_key("opus:6") == "opus-6" and system_key("sqcodec:runs/best one/") == "best-one"
    assert system_key("dir:a/b=/tmp/x") == "a-b"


def test_reports_hold_what_was_found(clips: Path) -> None:
    results = evaluate(options(clips, ["original", f"dir:theirs={clips.parent / 'outputs'}"]))
    files = publish(results, clips.parent / "out")
    assert {path.name for path in files} >= {"results.json", "report.md", "report.html"}
    assert Results.load(files[0]).summary == results.summary
    report = files[1].read_text()
    assert "| theirs | - | - |" in report and "silence" in report and "4 of 5" in report
    page = files[2].read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert page.count("<audio") == 6 and page.count("data:image/png;base64,") == 6


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_page_works_in_a_browser(clips: Path) -> None:
    """Scripts run after the page's own: sound and pictures decode, plots have a size, the table is whole and sorts."""
    systems = ["original", f"dir:theirs={clips.parent / 'outputs'}"]
    if shutil.which("opusenc"):
        systems.append("opus:6")
    results = evaluate(options(clips, systems))
    for name in core_metrics():  # the table is as wide as it is by default
        results.metrics[name] = asdict(all_metrics()[name])
        for summary in results.summary.values():
            summary["metrics"][name] = summary["metrics"]["stoi"]
    page = publish(results, clips.parent / "out")[2]
    probe = """<script>addEventListener("load", () => setTimeout(() => {
      const all = (query) => [...document.querySelectorAll(query)];
      const head = all("#quality th")[3]; head.click(); head.click();
      document.body.innerHTML = "<pre id=found>" + JSON.stringify({
        sounds: all("audio").map((a) => a.duration), pictures: all(".picture img").map((i) => i.naturalWidth),
        plots: all("svg.plot").map((p) => p.getBoundingClientRect().width), rows: all("#quality tbody tr").length,
        first: all("#quality tbody td")[0].textContent,
        cut: [document.documentElement, ...all(".scroll")].map((e) => e.scrollWidth - e.clientWidth),
      }) + "</pre>"; }, 1500));</script></body>"""
    test_page = page.with_name("probe.html")
    test_page.write_text(page.read_text().replace("</body>", probe))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               f"--user-data-dir={clips.parent / 'browser'}", "--window-size=1200,900",
               "--virtual-time-budget=10000", "--dump-dom", test_page.as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
    assert '<pre id="found">' in shown, shown[-300:]
    found = json.loads(shown.split('<pre id="found">')[1].split("</pre>")[0])
    assert found["sounds"] and all(seconds == pytest.approx(2, abs=0.01) for seconds in found["sounds"])
    assert found["pictures"] and all(width == 480 for width in found["pictures"])
    assert found["plots"] and all(width > 300 for width in found["plots"])
    assert found["rows"] == len(results.systems) and found["first"] == "original"
    assert not any(found["cut"])


def test_the_command_line(clips: Path) -> None:
    out = clips.parent / "out"
    command = [sys.executable, "-m", "sqcodec", "evaluate", str(clips), "--baselines", "original", "--metrics", "stoi"]
    done = subprocess.run([*command, "--out", str(out), "--jobs", "1", "-q"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # one clip is no audio
    assert done.stdout.splitlines()[1].startswith("original\t-\t-\t1.000")
    assert "report.html" in done.stderr and (out / "report.html").exists()
    wrong = subprocess.run([*command, "--out", str(out), "--manifest", "x"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "one of the two" in wrong.stderr


def test_one_model_is_a_curve_of_several_rates(clips: Path, nested_home: Path, monkeypatch, capsys) -> None:
    from sqcodec.cli import main

    command = ["evaluate", str(clips / "anna"), "--metrics", "stoi", "--jobs", "1", "-q", "--model"]
    out = clips.parent / "out"
    shutil.copytree(nested_home, clips.parent / "home")
    monkeypatch.setenv("SQCODEC_HOME", str(clips.parent / "home"))
    random_predictor((2,) * 16).save(clips.parent / "home" / "models" / "nested" / PREDICTOR_NAME)
    assert main([*command, "nested", "--model", "tiny", "--kbps", "1,1.5,2.6", "--out", str(out)]) == 0
    results = Results.load(out / "results.json")
    labels = ["nested @ 1 kbit/s", "nested @ 1.5 kbit/s", "nested @ 2.6 kbit/s", "tiny"]
    assert [system["label"] for system in results.systems.values()] == labels
    assert list(results.systems) == ["nested-1", "nested-1.5", "nested-2.6", "tiny"]
    table = capsys.readouterr().out.splitlines()
    rates = [line.split("\t")[2] for line in table[1:]]
    assert ["(" in rate for rate in rates] == [True, True, True, False]
    assert all(0 < summary["compact_bit_rate"] <= summary["payload_bit_rate"] for summary in results.summary.values()
               if summary["compact_bit_rate"])
    assert [line.split("\t")[:2] for line in table[1:]] == [
        [label, nominal] for label, nominal in zip(labels, ["1.00", "1.50", "2.50", "2.81"], strict=True)
    ]
    for system, bits in (("nested-1", 6), ("nested-1.5", 9), ("nested-2.6", 15)):
        tokens = np.load(next((out / "tokens" / system).rglob("clip0.npy")))
        assert results.systems[system]["codebook_size"] == 2**bits and 0 < tokens.max() < 2**bits
        assert results.summary[system]["payload_bit_rate"] == pytest.approx(bits * 1000 / 6, rel=0.05)
    coarse, fine = (np.load(next((out / "tokens" / name).rglob("clip0.npy"))) for name in ("nested-1", "nested-2.6"))
    assert np.array_equal(coarse, fine >> 9)
    page = (out / "report.html").read_text()
    plot = page[page.index("Quality and bit rate") :].split("</svg>")[0]
    lines = dict(re.findall(r'<g id="line:([^"]*)">\s*<path d="(M[^"]*)"', plot))
    assert lines["nested"].count("L") == 2  # through the three points
    assert "nested @ 1.5 kbit/s" in plot

    assert main([*command, "tiny", "--kbps", "1,2", "--out", str(out)]) == 2
    assert "none of the models has several rates" in capsys.readouterr().err
    assert main([*command, "nested", "--kbps", "1,lots", "--out", str(out)]) == 2
    assert "no list of numbers" in capsys.readouterr().err
    assert main([*command, "nested", "--kbps", "0.5,2", "--out", str(out)]) == 2
    assert "no model has 0.5. Allowed are 'nested' 1 to 2.667 kbit/s" in capsys.readouterr().err
    assert main([*command, "nested", "--kbps", "0.5", "--out", str(out)]) == 2
    assert "'nested' has none of these; allowed are 1 to 2.667 kbit/s" in capsys.readouterr().err


def test_each_model_takes_the_rates_that_it_has() -> None:
    from sqcodec.cli.evaluate import _at_rates

    models = ["speech-3k", "speech-1k-v1", "speech-1k"]
    assert _at_rates(models, "0.5,1,1.5,3") == [
        "speech-3k:1.5", "speech-3k:3", "speech-1k-v1", "speech-1k:0.5", "speech-1k:1", "speech-1k:1.5"
    ]  # fmt: skip
