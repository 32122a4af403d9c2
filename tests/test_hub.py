"""Models to and from a local server with the hub's routes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from cli_helpers import program

import sqcodec
from sqcodec import cli
from sqcodec.codec import Codec
from sqcodec.compat import PARTS
from sqcodec.hub import fetch_published

hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PREFIX = "/zhai-lw/L3AC/resolve/main/weights/3kbps.v1/"


def part_bytes(part: str) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.full((3,), float(PARTS.index(part)))}, buffer)
    return buffer.getvalue()


class Hub(BaseHTTPRequestHandler):
    """HEAD and GET of resolve/main, as the hub answers them for small files; new repositories, and commits to them."""

    files: dict[str, bytes] = {}
    requests: list[str] = []

    def answer(self, send_body: bool) -> None:
        self.requests.append(f"{self.command} {self.path}")
        path = self.path.replace(COMMIT, "main")
        body = self.files.get(path)
        if body is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Error-Message", "Entry not found")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.answer(send_body=False)

    def do_GET(self) -> None:
        self.answer(send_body=True)

    def do_POST(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        repository = self.path.removeprefix("/api/models").split("/preupload")[0].split("/commit")[0]
        address = f"http://{self.headers['Host']}"
        answer: dict = {"errors": [], "warnings": []}
        if self.path.endswith("/repos/create"):
            asked = json.loads(body)
            answer = {"url": f"{address}/{asked['organization']}/{asked['name']}"}
        elif "/preupload/" in self.path:
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            answer = {"files": [{"path": file["path"], **plain} for file in json.loads(body)["files"]]}
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files[f"{repository}/resolve/main/{line['value']['path']}"] = content
            answer = {"commitUrl": f"{address}{repository}/commit/{COMMIT}", "commitOid": COMMIT}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setattr(Hub, "files", {f"{PREFIX}{part}.pt": part_bytes(part) for part in PARTS})
    monkeypatch.setattr(Hub, "requests", [])
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{httpd.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def test_fetch_downloads_the_five_files_and_then_uses_the_cache(server, tmp_path: Path):
    folder = fetch_published("l3ac-3kbps", tmp_path)
    assert folder.name == "3kbps.v1"
    for part in PARTS:
        assert (folder / f"{part}.pt").read_bytes() == part_bytes(part)
        assert f"GET {PREFIX}{part}.pt" in [r.replace(COMMIT, "main") for r in Hub.requests]
    Hub.requests.clear()
    assert fetch_published("l3ac-3kbps", str(tmp_path)) == folder
    assert not Hub.requests  # nothing asked: it works offline


def test_a_file_that_the_hub_lacks_is_named(server, tmp_path: Path):
    del Hub.files[f"{PREFIX}decoder.pt"]
    with pytest.raises(ConnectionError, match=r"weights/3kbps\.v1/decoder\.pt of zhai-lw/L3AC"):
        fetch_published("l3ac-3kbps", tmp_path)


def test_offline_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the retries of huggingface_hub
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ConnectionError, match="not in the cache.*give their folder"):
        fetch_published("sqcodec-3kbps", tmp_path)


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"sqcodec\[hub\]"):
        fetch_published("l3ac-3kbps", tmp_path)


def test_a_model_goes_to_the_hub_and_comes_back(server, tiny: Codec, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    tiny.save_pretrained(tmp_path / "mine")
    mine = sqcodec.load(tmp_path / "mine")
    assert mine.push_to_hub("anna/small").endswith("/anna/small")
    card = Hub.files["/anna/small/resolve/main/README.md"].decode()
    assert card.startswith("---\nlicense: other\nlibrary_name: sqcodec\n") and "kbit/s" in card
    found = sqcodec.load("anna/small")
    assert (found.name, found.weights_hash) == (mine.name, mine.weights_hash)
    assert cli.main(["info", "anna/small"]) == 0
    assert "tiny" in capsys.readouterr().out
    server.shutdown()  # without a connection the cache is used
    server.server_close()
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the retries of huggingface_hub
    assert sqcodec.load("anna/small").weights_hash == mine.weights_hash
    with pytest.raises(ConnectionError, match="config.toml of anna/other"):
        sqcodec.load("anna/other")
    with pytest.raises(ConnectionError, match="upload to anna/small.*HF_TOKEN"):
        mine.push_to_hub("anna/small")


TRANSFORMERS = """
import sys, sqcodec
from transformers import AutoModel
from sqcodec.hf import SQCodecModel
codec = sqcodec.load(sys.argv[1])
SQCodecModel.from_codec(codec).push_to_hub("anna/auto")
assert AutoModel.from_pretrained("anna/auto").codec.weights_hash == codec.weights_hash
"""


def test_transformers_go_to_the_hub_and_come_back(server, tiny: Codec, tmp_path: Path, monkeypatch):
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    tiny.save_pretrained(tmp_path / "mine")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    done = program(tmp_path / "mine", code=TRANSFORMERS, text=True)  # the endpoint is read at import
    assert done.returncode == 0, done.stderr
    assert "/anna/auto/resolve/main/config.json" in Hub.files


def test_repositories_are_no_paths(tiny: Codec, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="Unknown model 'runs/mine'"):
        sqcodec.load("runs/mine")
    with pytest.raises(ValueError, match="give owner/name"):
        tiny.push_to_hub("small")


def test_unknown_model():
    with pytest.raises(ValueError, match="Unknown published model '3kbps'.*l3ac-3kbps"):
        fetch_published("3kbps")
