"""Every Python snippet of the README and the documentation runs, and every command of theirs is one that exists.

The snippets of a page run one after the other, as a reader would type them, in a folder with talk.wav, recordings/,
tokens/ and my-llm/. Commands are parsed; those of the README that need only a recording are run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sqcodec import audio, cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND_PAGES = [*PAGES, *sorted(ROOT.glob("egs/**/README.md")), *sorted(ROOT.glob("sqcodec/models/*/CARD.md"))]
RUN = ("encode", "decode", "info", "models", "prepare")


def names(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def python_snippets(page: Path) -> list[str]:
    """Each with as many empty lines in front as make the numbers of its lines those of the page."""
    text = page.read_text("utf-8")
    found = [match for match in FENCED.finditer(text) if match[1] == "python"]
    return ["\n" * text.count("\n", 0, match.start(2)) + match[2] for match in found]


def commands(page: Path) -> Iterator[list[str]]:
    """Arguments of each ``sqcodec`` in a block of commands: indented or fenced, behind a pipe, over two lines."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    lines = re.findall(r"^ {4}(.*)$", FENCED.sub("", text), re.MULTILINE)
    for language, block in FENCED.findall(text):
        lines += block.splitlines() if language in ("", "bash", "sh", "console") else []
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>&;")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe: no command
            continue
        while "sqcodec" in words:
            words = words[words.index("sqcodec") + 1 :]
            end = next((place for place, word in enumerate(words) if set(word) <= set("|<>&;")), len(words))
            if words[:end]:
                yield words[:end]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, speech: np.ndarray) -> Path:
    """What the pages take for granted."""
    folder = tmp_path_factory.mktemp("snippets")
    (folder / "recordings/anna").mkdir(parents=True)
    audio.save(folder / "talk.wav", speech[:24000], 16000)
    for place, name in enumerate(("one", "two", "three")):
        audio.save(folder / f"recordings/anna/{name}.wav", speech[(place + 1) * 32000 :][:32000], 16000)
    return folder


@pytest.fixture
def here(prepared: Path, monkeypatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("SQCODEC_HOME", str(tmp_path))
    return prepared


@pytest.fixture(scope="module")
def language_model(prepared: Path) -> None:
    """my-llm/: a tokenizer and a Llama, both tiny."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    letters = {chr(code): code - 32 for code in range(32, 127)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token=" "))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(prepared / "my-llm")
    config = transformers.LlamaConfig(
        vocab_size=len(letters), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(prepared / "my-llm")


@pytest.fixture(scope="module")
def token_folder(prepared: Path) -> None:
    from sqcodec.tokens.corpus import tokenize

    tokenize(prepared / "recordings", prepared / "tokens", format="npz", engine="serial")


@pytest.mark.parametrize("page", [page for page in PAGES if python_snippets(page)], ids=names)
def test_snippets_run(page: Path, here: Path, request: pytest.FixtureRequest) -> None:
    snippets = python_snippets(page)
    for word, fixture in (("transformers", "language_model"), ("TokenDataset", "token_folder")):
        if any(word in snippet for snippet in snippets):
            request.getfixturevalue(fixture)
    for package in ("transformers", "datasets"):
        if any(f"import {package}" in snippet or f"from {package}" in snippet for snippet in snippets):
            pytest.importorskip(package)
    variables: dict = {"__name__": "snippet"}
    for snippet in snippets:
        exec(compile(snippet, names(page), "exec"), variables)


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=names)
def test_commands_exist(page: Path, capsys: pytest.CaptureFixture) -> None:
    parser = cli.build_parser()
    for arguments in commands(page):
        try:
            parser.parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{names(page)}: sqcodec {shlex.join(arguments)}: {capsys.readouterr().err}")


def test_commands_of_the_readme_run(here: Path, capsys: pytest.CaptureFixture) -> None:
    done = []
    for arguments in commands(ROOT / "README.md"):
        if arguments[0] in RUN and not any(word.startswith("runs/") for word in arguments):
            assert cli.main(arguments) == 0, (arguments, capsys.readouterr().err)
            done.append(arguments[0])
    assert set(done) == set(RUN)
    assert (here / "codes/anna/one.sqc").is_file() and (here / "talk_decoded.wav").is_file()
