"""Pages of the documentation that are made from the program hold what the program has, and links lead on the site."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from sqcodec.cli import build_parser

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from site_pages import COPIED, commands_page, files_page, on_page_markdown, parsers  # noqa: E402


def test_every_command_and_option_is_listed() -> None:
    page = commands_page()
    for parser in parsers(build_parser()):
        section = page.partition(f"## {parser.prog}\n")[2].partition("\n## ")[0]
        assert section, parser.prog
        missing = [option for option in parser._option_string_actions if f"<code>{option}" not in section]
        assert set(missing) <= {"-h", "--help"}, (parser.prog, missing)


def test_every_module_is_listed_with_what_it_is() -> None:
    page = files_page()
    for path in (ROOT / "sqcodec").rglob("*.py"):
        if path.name != "__init__.py":
            section = page.partition(f"## {path.parent.relative_to(ROOT).as_posix()}/\n")[2].partition("\n## ")[0]
            assert f"| `{path.name}` | " in section, path


def test_copied_pages_exist() -> None:
    assert all((ROOT / source).is_file() for source in COPIED.values())


def test_links_of_the_repository_become_links_of_the_site() -> None:
    def rewritten(uri: str, text: str) -> str:
        return on_page_markdown(text, page=SimpleNamespace(file=SimpleNamespace(src_uri=uri)))

    assert rewritten("evaluate.md", "[a](../egs/mini/codec1/RESULTS.md#b)") == "[a](results/codecs.md#b)"
    assert rewritten("contributing.md", "[a](docs/tokens.md) [b](LICENSE)") == "[a](tokens.md) b (`LICENSE`)"
    assert rewritten("models/speech-3k.md", "[a](../../../docs/onnx.md)") == "[a](../onnx.md)"
    assert rewritten("streaming.md", "see `benchmarks/RESULTS.md`") == "see [`benchmarks/RESULTS.md`](results/speed.md)"
    assert rewritten("results/codecs.md", "`docs/parity.md`") == "[`docs/parity.md`](../parity.md)"
    for left in ("[a](nowhere.md)", "`docs/nowhere.md`", "![a](../none.svg)", "[a](https://example.org/x.md)"):
        assert rewritten("results/codecs.md", left) == left
