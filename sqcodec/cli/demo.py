"""`sqcodec demo`: the codec in a browser, served from this computer."""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import webbrowser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sqcodec.extras import require
from sqcodec.files import beside, published, write_atomically

from .options import load_codec
from .parser import describe

RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_FILES = (
    "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm",
)  # fmt: skip


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "demo",
        help="the codec in a browser",
        description="Opens a page that codes clips and live speech in the browser, offline: rates, pictures, tokens, "
        "original against decoded, .sqc files in and out. Needs the extra 'onnx', and once --fetch.",
        epilog="example: sqcodec demo --fetch",
    )
    parser.add_argument(
        "--model", action="append", metavar="NAME|FOLDER", help="may be repeated; default: all that ship"
    )
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one; default: 8000")
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    parser.add_argument(
        "--fetch", action="store_true", help=f"get what runs the models in a browser, {RUNTIME}, with npm (33 MB, once)"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="write the page and all that it needs to DIR, for any web server, and stop"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the folder and serve it until Ctrl-C; exit status."""
    from sqcodec.registry import user_models_dir

    if not 0 <= arguments.port < 65536:
        raise ValueError(f"--port {arguments.port}: allowed are 0 to 65535.")
    cache = user_models_dir().with_name("demo")
    runtime = cache / "ort"
    if arguments.fetch:
        fetch_runtime(runtime)
    if any(not (runtime / name).is_file() for name in RUNTIME_FILES):
        raise FileNotFoundError(
            f"The page needs {RUNTIME}, which is not here yet: 'sqcodec demo --fetch' gets it with npm, once."
        )
    folder = Path(arguments.out) if arguments.out else cache / "page"
    build_page(folder, arguments.model or shipped_models(), runtime)
    if arguments.out:
        print(folder / "index.html")
        return 0
    try:
        server = ThreadingHTTPServer(("127.0.0.1", arguments.port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        raise OSError(f"Port {arguments.port} cannot be used ({describe(error)}): --port 0 takes a free one.") from None
    address = f"http://localhost:{server.server_port}/"
    print(f"{address} (Ctrl-C ends it)", flush=True)
    if not arguments.no_browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        server.server_close()
    return 0


def shipped_models() -> list[str]:
    """Their names; the page opens with the first."""
    from sqcodec.registry import DEFAULT_MODEL, list_models

    names = [model.name for model in list_models() if model.shipped]
    return sorted(names, key=lambda name: name != DEFAULT_MODEL)


def fetch_runtime(folder: Path) -> None:
    """Puts the files of onnxruntime-web into a folder. Raises FileNotFoundError without npm, OSError where it fails."""
    npm = shutil.which("npm")
    if npm is None:
        files = ", ".join(RUNTIME_FILES)
        raise FileNotFoundError(f"npm is not here: install Node.js, or put these of {RUNTIME} in {folder}: {files}.")
    with tempfile.TemporaryDirectory() as temporary:
        result = subprocess.run([npm, "pack", "--silent", RUNTIME], cwd=temporary, capture_output=True, text=True)
        if result.returncode:
            last = next(iter(reversed(result.stderr.strip().splitlines())), f"exit status {result.returncode}")
            raise OSError(f"'npm pack {RUNTIME}' failed: {last}")
        folder.mkdir(parents=True, exist_ok=True)
        [archive] = Path(temporary).glob("*.tgz")
        with tarfile.open(archive) as packed:
            for name in RUNTIME_FILES:
                content = packed.extractfile(f"package/dist/{name}")
                assert content is not None
                with published(folder / name) as partial, open(partial, "wb") as file:
                    shutil.copyfileobj(content, file)


def build_page(folder: Path, models: list[str], runtime: Path) -> None:
    """The page, the runtime and the models as files; models that are there already are not exported again."""
    require("onnx", "onnx", "demo")
    from sqcodec.entropy import PREDICTOR_NAME
    from sqcodec.export.onnx import export_onnx

    folder.mkdir(parents=True, exist_ok=True)
    for source in beside("web").iterdir():
        if source.is_file():
            shutil.copyfile(source, folder / source.name)
    (folder / "ort").mkdir(exist_ok=True)
    for name in RUNTIME_FILES:
        target = folder / "ort" / name
        if not target.is_file() or target.stat().st_size != (runtime / name).stat().st_size:
            shutil.copyfile(runtime / name, target)
    names: list[str] = []
    for model in models:
        codec = load_codec(model, "cpu", None)
        names.append(codec.name if codec.name not in names else f"{codec.name}-{len(names) + 1}")
        target = folder / "models" / names[-1]
        if not _is_current(target / "model.json", codec.weights_hash):
            print(f"preparing {codec.name} ...", file=sys.stderr)
            export_onnx(codec, target)
        (target / PREDICTOR_NAME).unlink(missing_ok=True)
        if codec.has_predictor:
            codec.predictor.save(target / PREDICTOR_NAME)
    write_atomically(folder / "models" / "index.json", json.dumps(names))


def _is_current(path: Path, weights_hash: str) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["weights_hash"] == weights_hash
    except (OSError, ValueError, KeyError):
        return False


class Handler(SimpleHTTPRequestHandler):
    """Files with the types and headers that modules, WebAssembly and its threads need."""

    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".flac": "audio/flac",
    }  # fmt: skip

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass
