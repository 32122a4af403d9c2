"""`sqcodec entropy`: the predictor that compact code files need, trained and measured."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from .options import DEFAULT_MODEL, add_options, check_new, positive, set_threads, show_log
from .parser import UsageError

if TYPE_CHECKING:
    import numpy as np

    from sqcodec.config import ModelConfig
    from sqcodec.data.manifest import Clip
    from sqcodec.entropy import Predictor
    from sqcodec.tokens.dataset import TokenDataset


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb and what it does."""
    parser = subparsers.add_parser(
        "entropy",
        help="train and measure the predictor of a model's tokens, for compact .sqc files",
        description="A small predictor of the next token lets a .sqc file store the same tokens in fewer bits. It lies "
        "in the model's folder and belongs to its weights.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    train = actions.add_parser(
        "train",
        help="train a predictor",
        description="Codes recordings, holds out some speakers, trains on the rest and on silence with one thread, and "
        "says what is saved on the speakers held out. 2400 steps are some minutes of an idle core.",
        epilog="example: sqcodec entropy train runs/first/model --data corpus/manifest.tsv --split train --hours 4",
    )
    _add_data(train)
    add_options(train, "--out", required=False, metavar="FILE",
                help="default: entropy.safetensors in the model's folder")  # fmt: skip
    add_options(train, "--force", help="overwrite a predictor that is there")
    train.add_argument("--steps", type=positive, default=2400, metavar="N", help="default: 2400")
    train.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="end by then, with fewer steps")
    train.add_argument("--units", type=positive, default=192, metavar="N", help="of the state; default: 192")
    train.add_argument("--seed", type=int, default=0)
    add_options(train, "--threads", default=1, help="CPU threads; default: 1")
    train.add_argument(
        "--hold-out", metavar="SPEAKER,...", help="speakers to measure on; default: about a twentieth of them"
    )
    train.set_defaults(run=run_train)
    measure = actions.add_parser(
        "measure",
        help="what a predictor saves, at each rate",
        description="Codes recordings and says how many bits their tokens need with the model's predictor.",
        epilog="example: sqcodec entropy measure speech-3k --data test/ --shortest 10",
    )
    _add_data(measure)
    measure.add_argument("--predictor", metavar="FILE", help="default: the model's")
    add_options(measure, "--json")
    measure.set_defaults(run=run_measure)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help=f"name or folder; default: {DEFAULT_MODEL}")
    add_options(parser, "--data", required=True, help="or a folder of `sqcodec tokens`")
    add_options(parser, "--split")
    parser.add_argument("--hours", type=float, metavar="H", help="at most so much audio, drawn from all of it")
    parser.add_argument("--shortest", type=float, default=0.0, metavar="S", help="leave out what is shorter, s")


def run_train(arguments: argparse.Namespace) -> int:
    import dataclasses

    import numpy as np

    from sqcodec.codec import Codec
    from sqcodec.config import CONFIG_NAME, ModelConfig
    from sqcodec.data.manifest import chosen_names, enough_speakers
    from sqcodec.entropy import PREDICTOR_NAME
    from sqcodec.entropy.symbols import alphabets_of
    from sqcodec.entropy.train import Settings, train_predictor
    from sqcodec.registry import find_model

    show_log()
    if not arguments.minutes > 0:
        raise UsageError(f"--minutes {arguments.minutes} must be above 0")
    set_threads(arguments.threads)
    folder = find_model(arguments.model)
    out = Path(arguments.out) if arguments.out else folder / PREDICTOR_NAME
    check_new(out, arguments.force)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: there is no folder {out.parent}")
    config = ModelConfig.from_toml(folder / CONFIG_NAME)
    alphabets = alphabets_of(config)
    names, clips = read_clips(folder, config, arguments)
    if arguments.hold_out:
        wanted = set(arguments.hold_out.split(","))
        if unknown := wanted - {speaker for speaker, _ in names}:
            raise ValueError(f"unknown speakers {', '.join(sorted(unknown))}: none of the clips are theirs")
        held = [speaker in wanted for speaker, _ in names]
    else:
        by_speaker = enough_speakers(speaker for speaker, _ in names)
        held = chosen_names([speaker if by_speaker else clip for speaker, clip in names], 0.05)
    learnt = [clip for clip, out_ in zip(clips, held, strict=True) if not out_]
    strangers = [clip for clip, out_ in zip(clips, held, strict=True) if out_]
    if not learnt or not strangers:
        raise ValueError(f"{len(learnt)} clips to train on and {len(strangers)} to measure on: both need some")
    silence = Codec.from_pretrained(folder).encode(
        np.zeros(round(10 * config.sample_rate), np.float32), bits=_finest(config)
    )
    learnt += [silence[0].numpy()] * -(-len(learnt) // 100)
    settings = Settings(steps=arguments.steps, minutes=arguments.minutes, units=arguments.units, seed=arguments.seed)
    if config.quantizer.bits:
        settings = dataclasses.replace(settings, lowest=config.quantizer.bits[0])
    print(f"{sum(map(len, learnt))} tokens to train on, {sum(map(len, strangers))} to measure on", flush=True)
    predictor = train_predictor(learnt, alphabets, config.tokens_per_frame, settings)
    size = predictor.save(out)
    for line in _savings(predictor, config, strangers):
        print("on those held out: {text}".format(**line))
    print(f"{out}: {size / 1e6:.2f} MB, hash {predictor.hash[:16]}")
    return 0


def run_measure(arguments: argparse.Namespace) -> int:
    import json

    from sqcodec.config import CONFIG_NAME, ModelConfig
    from sqcodec.entropy import PREDICTOR_NAME, Predictor
    from sqcodec.registry import find_model

    folder = find_model(arguments.model)
    path = Path(arguments.predictor) if arguments.predictor else folder / PREDICTOR_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such predictor; train one with 'sqcodec entropy train {arguments.model}'")
    config, predictor = ModelConfig.from_toml(folder / CONFIG_NAME), Predictor.load(path)
    _, clips = read_clips(folder, config, arguments)
    for line in _savings(predictor, config, clips):
        text = line.pop("text")
        print(json.dumps(line) if arguments.json else text, flush=True)
    return 0


def read_clips(
    folder: Path, config: ModelConfig, arguments: argparse.Namespace
) -> tuple[list[tuple[str, str]], list[np.ndarray]]:
    """(speaker, id) and the finest tokens int64 [N] of each clip. Audio is coded by way of a temporary corpus."""
    import random
    import tempfile

    import numpy as np

    from sqcodec.data.manifest import read_manifest
    from sqcodec.tokens.corpus import INDEX, tokenize
    from sqcodec.tokens.dataset import TokenDataset

    if arguments.hours is not None and not arguments.hours > 0:
        raise UsageError(f"--hours {arguments.hours} must be above 0")
    source = Path(arguments.data)
    if (source / INDEX).is_file():
        return _from_corpus(TokenDataset(source), folder, config, arguments)
    clips = [clip for clip in read_manifest(source, arguments.split) if (clip.seconds or 1e9) >= arguments.shortest]
    random.Random(0).shuffle(clips)
    if arguments.hours is not None:
        ends = np.cumsum([clip.seconds or 0.0 for clip in clips])
        clips = clips[: max(2, int((ends <= 3600 * arguments.hours).sum()))]
    if not clips:
        raise ValueError(f"{source}: no clips of {arguments.shortest} s or more")
    with tempfile.TemporaryDirectory(prefix="sqcodec-") as work:
        manifest = Path(work) / "manifest.jsonl"
        manifest.write_text("".join(_line(clip) for clip in clips), encoding="utf-8")
        print(f"coding {len(clips)} clips", flush=True)
        totals = tokenize(manifest, Path(work) / "tokens", model=folder, format="npz", bits=_finest(config))
        if totals.failed:
            raise ValueError(totals.failed[0])
        return _from_corpus(TokenDataset(Path(work) / "tokens"), folder, config, arguments)


def _finest(config: ModelConfig) -> int | None:
    return config.quantizer.bits[2] if config.quantizer.bits else None


def _line(clip: Clip) -> str:
    import dataclasses
    import json

    fields = dataclasses.asdict(clip)
    return json.dumps(fields | {"path": str(Path(fields["path"]).resolve())}) + "\n"


def _from_corpus(
    dataset: TokenDataset, folder: Path, config: ModelConfig, arguments: argparse.Namespace
) -> tuple[list[tuple[str, str]], list[np.ndarray]]:
    import numpy as np

    from sqcodec.registry import hashes

    if dataset.info.weights_hash not in hashes(folder):
        raise ValueError(f"{dataset.folder}: made by the model {dataset.info.model!r}, not by that of '{folder}'")
    finest = config.codes(_finest(config))
    if dataset.info.codebook_size != finest:
        how = f": sqcodec tokens --bits {_finest(config)}" if config.quantizer.bits else ""
        raise ValueError(
            f"{dataset.folder}: tokens of {dataset.info.codebook_size} codes; needed are {finest}{how}"
        )
    fewest = arguments.shortest * dataset.info.token_rate
    used = [index for index, length in enumerate(dataset.lengths) if length >= max(1, fewest)]
    fields = [dataset.fields(index) for index in used]
    return (
        [(row["speaker"], row["id"]) for row in fields],
        [np.array(dataset.tokens(index), np.int64) for index in used],
    )


def _savings(predictor: Predictor, config: ModelConfig, clips: list[np.ndarray]) -> list[dict]:
    """What coding ``clips`` saves: for each of a few rates bits a token, kbit/s before and after, and a sentence."""
    from sqcodec.entropy.symbols import alphabets_of
    from sqcodec.entropy.train import coded_bits

    if alphabets_of(config) != predictor.alphabet_sizes:
        raise ValueError(f"the predictor is for symbols of {list(predictor.alphabet_sizes)}, not this model's")
    most, bits_range = predictor.num_symbols, config.quantizer.bits
    counts = sorted({*bits_range, (bits_range[0] + bits_range[1]) // 2}) if bits_range else [most]
    found = []
    for count in counts:
        shift = most - count if bits_range else 0
        bits, tokens = coded_bits(predictor, [clip >> shift for clip in clips], count)
        nominal = math.log2(math.prod(predictor.alphabet_sizes[:count]))
        line = {
            "tokens": tokens, "bits": nominal, "coded_bits": bits / tokens,
            "kbps": nominal * config.token_rate / 1000, "coded_kbps": bits / tokens * config.token_rate / 1000,
            "saving": 1 - bits / tokens / nominal,
        }  # fmt: skip
        text = "{coded_bits:.2f} of {bits:.2f} bits a token, {coded_kbps:.3f} of {kbps:.3f} kbit/s: {saving:.1%} saved"
        found.append(line | {"text": text.format(**line)})
    return found
