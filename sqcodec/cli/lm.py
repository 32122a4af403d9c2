"""`sqcodec lm`: a language model over tokens, its score, and what it says."""

from __future__ import annotations

import argparse

from sqcodec.extras import require

from .options import add_options, check_new, set_threads, show_log
from .parser import UsageError, printable


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb and what it does."""
    parser = subparsers.add_parser(
        "lm",
        help="train a language model on tokens, and sample speech from it",
        description="A small decoder-only language model over the tokens that `sqcodec tokens` wrote. Needs the extra "
        "'lm'.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    train = actions.add_parser(
        "train",
        help="train, or go on with a run",
        description="Holds out some speakers, trains on the rest, and scores the result beside unigram and bigram "
        "models of the same tokens. Started again it goes on where it stopped.",
        epilog="example: sqcodec lm train tokens/ --out runs/lm --set steps=2000 --set hidden_size=256",
    )
    train.add_argument("tokens", metavar="TOKENS", help="folder of `sqcodec tokens`")
    add_options(train, "--out", help="run folder")
    add_options(train, "--set", "--threads", "--device")
    train.set_defaults(run=run_train)

    speak = actions.add_parser(
        "continue",
        help="continue a recording",
        description="Codes the first seconds of a recording, lets the model go on, and writes both as one wav.",
        epilog="example: sqcodec lm continue runs/lm talk.wav talk_on.wav --prompt-seconds 3 --seconds 7",
    )
    speak.add_argument("run_folder", metavar="RUN")
    speak.add_argument("inputs", nargs="+", metavar="IN", help="recordings")
    add_options(speak, "--out", required=False, metavar="PATH", help="a wav, or a folder; default: the last argument")
    add_options(speak, "--model", default=None, help="the codec; default: the one that the run names")
    speak.add_argument("--prompt-seconds", type=float, default=3.0, metavar="S", help="default: 3")
    speak.add_argument("--seconds", type=float, default=7.0, metavar="S", help="to add; default: 7")
    speak.add_argument("--temperature", type=float, default=0.9, help="default: 0.9")
    speak.add_argument("--top-p", type=float, default=0.95, help="of each digit; default: 0.95")
    speak.add_argument("--seed", type=int, default=0)
    speak.add_argument("--text", default="", help="what to say, for a model trained with texts")
    speak.add_argument("--only-new", action="store_true", help="leave the prompt out of the output")
    speak.add_argument(
        "--compare",
        metavar="DIR",
        help="also write what the recordings really said there, to DIR/real, DIR/coded and DIR/shuffled (see judge)",
    )
    add_options(speak, "--threads", "--force")
    speak.set_defaults(run=run_continue)

    judge = actions.add_parser(
        "judge",
        help="compare folders of wavs: DNSMOS, and a recogniser's confidence",
        description="For each folder the mean of DNSMOS (predicted opinion, extra 'mos') and of what Whisper thinks of "
        "its own transcript (log-probability of a token, chance of no speech, words a second; extra 'wer'). Compare "
        "what a model says with recordings of the same length.",
        epilog="example: sqcodec lm judge real/ coded/ continued/",
    )
    judge.add_argument("folders", nargs="+", metavar="FOLDER")
    add_options(judge, "--json")
    judge.set_defaults(run=run_judge)


def run_train(arguments: argparse.Namespace) -> int:
    """Train and score; exit status."""
    import json
    from dataclasses import asdict

    from sqcodec.tables import parse, read_override

    require("transformers", "lm", "lm")
    from sqcodec.lm.train import LMRecipe, train

    entries = {".".join(keys): value for keys, value in map(read_override, arguments.set)}
    recipe = parse(LMRecipe, entries, where="--set")
    show_log()
    set_threads(arguments.threads)
    scores = train(arguments.tokens, arguments.out, recipe, arguments.device)
    print(json.dumps(asdict(scores) | {"perplexity": round(scores.perplexity, 1)}))
    return 0


def run_continue(arguments: argparse.Namespace) -> int:
    """Speak on from each prompt; exit status."""
    from pathlib import Path

    import sqcodec
    from sqcodec import audio

    require("transformers", "lm", "lm")
    from sqcodec.lm.speak import Sampling, check_codec, continue_speech, references, token_bits
    from sqcodec.lm.train import load_lm

    *sources, out = arguments.inputs + ([arguments.out] if arguments.out else [])
    if not sources:
        raise UsageError("give the recordings, then the output: a wav, or a folder")
    if len(sources) > 1 and Path(out).suffix:
        raise UsageError(f"{len(sources)} recordings do not go into the one file {out}: name a folder")
    targets = {source: Path(out) if Path(out).suffix else Path(out) / f"{Path(source).stem}.wav" for source in sources}
    for target in targets.values():
        check_new(target, arguments.force)
        target.parent.mkdir(parents=True, exist_ok=True)
    set_threads(arguments.threads)
    model = load_lm(arguments.run_folder)
    codec = sqcodec.load(arguments.model or model.config.codec)
    check_codec(model, codec)
    for number, (source, target) in enumerate(targets.items()):
        samples = audio.load(source, codec.sample_rate)[0].mean(axis=0)
        prompt = samples[: round(arguments.prompt_seconds * codec.sample_rate)]
        sampling = Sampling(arguments.temperature, arguments.top_p, arguments.seed + number)
        spoken = continue_speech(model, codec, prompt, arguments.seconds, sampling, arguments.text)
        audio.save(target, spoken[len(prompt) if arguments.only_new else 0 :], codec.sample_rate)
        if arguments.compare:
            stretches = references(codec, samples, len(prompt), len(spoken), sampling.seed, token_bits(model, codec))
            for name, stretch in stretches.items():
                folder = Path(arguments.compare) / name
                folder.mkdir(parents=True, exist_ok=True)
                audio.save(folder / f"{Path(source).stem}.wav", stretch, codec.sample_rate)
        heard, all_in_all = len(prompt) / codec.sample_rate, len(spoken) / codec.sample_rate
        text = f"{source} -> {target}: {heard:.2f} s of prompt, {all_in_all:.2f} s in all"
        print(printable(text), flush=True)
    return 0


def run_judge(arguments: argparse.Namespace) -> int:
    """Score folders; exit status."""
    import json

    from sqcodec.evaluation.judges import judge_folder
    from sqcodec.evaluation.tables import markdown_table

    rows = {folder: judge_folder(folder) for folder in arguments.folders}
    if arguments.json:
        print(json.dumps(rows))
        return 0
    names = [name for name in next(iter(rows.values())) if name != "clips" and not name.endswith("_interval")]
    table = [["folder", "clips", *names]]
    for folder, row in rows.items():
        cells = [f"{row[name]:.2f} ± {row[f'{name}_interval']:.2f}" for name in names]
        table.append([folder, f"{row['clips']:.0f}", *cells])
    print("\n".join(markdown_table(table)))
    return 0
