"""egs/mini/codec1/run.sh from download to tokens, on a handful of clips: a VP codec of a few thousand parameters."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import soundfile
import tomli_w

import sqcodec
from sqcodec.data.manifest import read_manifest

ROOT = Path(__file__).parent.parent
SPEAKERS = {"train-clean-5": ["84", "1088"], "dev-clean-2": ["174", "251", "422", "652", "777", "1919"]}


def make_archives(folder: Path, speech: np.ndarray) -> dict[str, bytes]:
    """Archives in Mini LibriSpeech's layout, each speaker with a clip of 1.5 s and its transcript."""
    found, start = {}, 0
    for subset, speakers in SPEAKERS.items():
        for speaker in speakers:
            chapter = folder / "LibriSpeech" / subset / speaker / "100"
            chapter.mkdir(parents=True)
            soundfile.write(chapter / f"{speaker}-100-0000.flac", speech[start : start + 24000], 16000)
            (chapter / f"{speaker}-100.trans.txt").write_text(f"{speaker}-100-0000 GO DO YOU HEAR\n")
            start += 24000
        with tarfile.open(folder / f"{subset}.tar.gz", "w:gz") as packed:
            packed.add(folder / "LibriSpeech" / subset, f"LibriSpeech/{subset}")
        found[subset] = (folder / f"{subset}.tar.gz").read_bytes()
    return found


def serve(archives: dict[str, bytes]) -> tuple[http.server.ThreadingHTTPServer, list[str]]:
    """A mirror whose first connection breaks off half-way; and what was asked of it."""
    asked: list[str] = []

    class Mirror(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            body = archives[self.path.split("/")[-1].removesuffix(".tar.gz")][start:]
            asked.append(f"{self.path} from {start}")
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if len(asked) == 1 else body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, asked


def test_mini_runs_from_download_to_tokens(tiny_config, tmp_path, speech: np.ndarray) -> None:
    archives = make_archives(tmp_path / "made", speech)
    server, asked = serve(archives)
    model = tiny_config.to_dict() | {"quantizer": {"kind": "vp", "dim": 3, "size": 64, "levels": []}}
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tomli_w.dumps({
        "model": model,
        "data": {"split": "train", "validation_split": "validation", "segment_seconds": 0.4, "batch_size": 4},
        "train": {"steps": 6, "decay_steps": 2, "log_every": 2},
        "loss": {"fft_sizes": [512, 128], "mel_bands": [40, 20]},
        "vp": {"neighbours_per_code": 4},
    }))  # fmt: skip
    root, out = tmp_path / "corpus", tmp_path / "run"
    command = [str(ROOT / "egs" / "mini" / "codec1" / "run.sh"), "--root", str(root), "--out", str(out)]
    command += ["--recipe", str(recipe), "--mirror", f"http://127.0.0.1:{server.server_port}"]
    for subset, data in archives.items():
        command += ["--checksum", f"{subset}=sha256:{hashlib.sha256(data).hexdigest()}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    server.shutdown()
    assert result.returncode == 0, result.stderr[-3000:]
    assert asked[0].endswith("train-clean-5.tar.gz from 0") and not asked[1].endswith("from 0") and len(asked) == 3
    clips = read_manifest(root / "manifest.jsonl")
    assert len(clips) == 8 and {clip.split for clip in clips} == {"train", "validation", "test"}
    assert all(clip.text == "GO DO YOU HEAR" for clip in clips)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 6 and 0 < rows[-1]["validation_cvu"] <= 1
    assert sqcodec.load(out).encode(speech[:16000]).max() < 64  # fitted at the end of training
    scores = json.loads((out / "evaluation" / "results.json").read_text())
    assert scores and (out / "evaluation" / "report.md").is_file()
    assert list((out / "onnx").glob("*.onnx")) and list((out / "tokens").rglob("*.npz"))
