"""Writes what is measured into a model's card, and leaves what is said by hand.

    python scripts/model_card.py speech-3k --evaluation report [--evaluation children] [--run RUN] [--manifest MANIFEST]
      [--attributions FILE]

The head of the card comes from the model, "Scores" from folders of `sqcodec evaluate` (all rates that they have:
`--kbps 1.5,2,3,4`), "How it was made" from run folders, in their order, "Training data" from the manifest,
"Attributions" from a text. A section that nothing is given for stays, as do all others: "Known weaknesses" is yours,
and in a card that does not exist the script makes a place for it.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import sqcodec
from sqcodec.codec import Codec
from sqcodec.data.manifest import read_manifest
from sqcodec.evaluation.results import Results, Row
from sqcodec.evaluation.summary import break_down, compare
from sqcodec.evaluation.tables import cell, heading, how_averaged, main_table, markdown_table
from sqcodec.files import write_atomically
from sqcodec.runs import read_metrics
from sqcodec.training.objective import TOKENS, Objective
from sqcodec.training.recipe import Recipe, load_run_recipe

BY_SOURCE = ("pesq_wb", "stoi", "estoi", "wer")
PAIRED = ("pesq_wb", "pesq_nb", "stoi", "estoi", "visqol", "dnsmos", "distillmos", "speaker", "wer")
ORDER = ("", "Scores", "How it was made", "Training data", "Attributions", "Known weaknesses")
BY_HAND = {"Attributions": "(who made the recordings, and their licences)", "Known weaknesses": "(what it cannot do)"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a shipped model, or a model folder")
    parser.add_argument("--evaluation", action="append", default=[], type=Path, metavar="DIR")
    parser.add_argument("--run", action="append", default=[], type=Path, metavar="DIR", help="oldest first")
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="of the training data")
    parser.add_argument("--attributions", type=Path, metavar="FILE", help="who made the recordings, and the licences")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: CARD.md of the model's folder")
    arguments = parser.parse_args()
    codec = sqcodec.load(arguments.model)
    assert codec.folder is not None
    path = arguments.out or codec.folder / "CARD.md"
    runs = [(run, load_run_recipe(run)) for run in arguments.run]
    new = {"": head(codec)}
    if arguments.evaluation:
        new["Scores"] = "\n\n".join(
            scores(Results.load(folder / "results.json"), codec.name) for folder in arguments.evaluation
        )
    if runs:
        new["How it was made"] = "\n".join([network(codec), *(phase(run, recipe) for run, recipe in runs)])
    if arguments.manifest:
        new["Training data"] = data(arguments.manifest, runs[-1][1] if runs else None)
    if arguments.attributions:
        new["Attributions"] = arguments.attributions.read_text(encoding="utf-8").strip()
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_atomically(path, merged(codec.name, old, new))
    print(path)


def merged(name: str, old: str, new: dict[str, str]) -> str:
    """The card with new sections in the place of those of the same name; "" is what comes before the first."""
    first, *rest = re.split(r"^## ", old.removeprefix(f"# {name}\n"), flags=re.MULTILINE)
    sections = dict.fromkeys(ORDER, "") | BY_HAND | {"": first.strip()}
    for section in rest:
        title, _, text = section.partition("\n")
        sections["Attributions" if title == "Data and Attributions" else title] = text.strip()
    sections |= new
    parts = [f"## {title}\n\n{text}" if title else text for title, text in sections.items() if text]
    return f"# {name}\n\n" + "\n\n".join(parts) + "\n"


def head(codec: Codec) -> str:
    config, parameters = codec.config, sum(weight.numel() for weight in codec.network.parameters())
    assert codec.folder is not None
    size = (codec.folder / "model.safetensors").stat().st_size / 2**20
    rate, frame = codec.sample_rate, config.frame_length
    tokens = f"{codec.token_rate:.4g} tokens a second of "
    if config.rates:
        tokens += f"{config.rates.lowest} to {config.rates.highest} bits ({codec.default_bits} by default)"
        span = str(config.rates).partition(",")[0]
        tokens = f"one set of weights for {span}: {tokens}, {codec.bit_rate / 1000:.3g} kbit/s"
    else:
        tokens += f"{codec.codebook_size} codes, {codec.bit_rate / 1000:.3g} kbit/s"
    lost = "trained to conceal lost tokens" if config.conceals else "not trained with lost tokens"
    return (
        f"A causal speech codec of {rate / 1000:g} kHz, {tokens}.\n"
        f"{parameters / 1e6:.1f} M parameters, {size:.1f} MiB; {lost}. Algorithmic latency: "
        f"{1000 * codec.lookahead / rate:g} ms of lookahead\nand one frame of {1000 * frame / rate:g} ms."
    )


def scores(results: Results, name: str) -> str:
    """All systems, the model's rates by source, and against each other system, of one evaluation."""
    rows = [replace(row, source=plain(row.source)) for row in results.rows]
    own = {system: info for system, info in results.systems.items() if info["label"].split(" @ ")[0] == name}
    if not own:
        raise SystemExit(f"No system of that evaluation is {name!r}: {', '.join(results.systems)}.")
    clips, speakers = (len({getattr(row, key) for row in rows}) for key in ("utterance", "speaker"))
    lines = [
        f"{clips} clips of {speakers} speakers, none of them trained on, {results.created[:10]}:",
        "\n    " + re.sub(r"(?<=\s)/\S*/", "", results.command) + "\n",
        f"{how_averaged(results)}\n",
        *markdown_table(main_table(results)),
        "\nBy source. One speaker's interval is over clips, and says nothing of other speakers.\n",
        *markdown_table(by_source(results, rows, own)),
    ]
    if len(own) < len(results.systems):
        lines += [
            "\nPaired over speakers, model minus other. **Bold**: it is better, p < .05; *italics*: by chance.\n",
            *markdown_table(paired(results, rows, own)),
        ]
    return "\n".join(lines)


def by_source(results: Results, rows: list[Row], own: dict) -> list[list[str]]:
    names = [name for name in BY_SOURCE if name in results.metrics]
    groups = break_down([row for row in rows if row.system in own], own, names, "source")
    table = [["source", "clips, speakers", "rate", *(heading(results.metrics[name]) for name in names)]]
    for source, systems in groups.items():
        for number, (system, means) in enumerate(systems.items()):
            counts = [str(max((mean[key] for mean in means.values()), default=0)) for key in ("count", "speakers")]
            cells = [cell(means.get(name), results.metrics[name]["digits"]) for name in names]
            about = ["", ""] if number else [source, ", ".join(counts)]
            table.append([*about, own[system]["label"], *cells])
    return table


def paired(results: Results, rows: list[Row], own: dict) -> list[list[str]]:
    names = [name for name in PAIRED if name in results.metrics]
    table = [["model", "other", *(heading(results.metrics[name]) for name in names)]]
    for system, info in own.items():
        others = {system: info} | {key: other for key, other in results.systems.items() if key not in own}
        cells: dict[str, dict[str, str]] = defaultdict(dict)
        for pair in compare([row for row in rows if row.system in others], system, others, names):
            metric = results.metrics[pair["metric"]]
            mean, low, high = (f"{pair[name]:+.{metric['digits']}f}" for name in ("difference", "low", "high"))
            better = (pair["difference"] > 0) == metric["higher_is_better"]
            mark = "*" if pair["p_value"] >= 0.05 else "**" if better else ""
            cells[pair["second"]][pair["metric"]] = f"{mark}{mean} ({low} to {high}){mark}"
        for other, found in cells.items():
            table.append([info["label"], others[other]["label"], *(found.get(name, "-") for name in names)])
    return table


def plain(source: str) -> str:
    """A source without the speaker that some name."""
    return re.sub(r",? speaker \S+$", "", source)


def network(codec: Codec) -> str:
    config = codec.config.to_dict()
    encoder, decoder, transformer = config["encoder"], config["decoder"], config["transformer"]
    return (
        f"- Network: {encoder['front']} front, {encoder['depth']} and {decoder['depth']} causal units of "
        f"{encoder['dim']} and {decoder['dim']}\n  channels, local attention over {transformer['window']} frames"
        f"{', TConv gates' if decoder['gate'] else ''}; quantizer {config['quantizer']['kind']}. `config.toml` has "
        "every number."
    )


def phase(run: Path, recipe: Recipe) -> str:
    """One run: how long, on what, and where it ended."""
    train = recipe.train
    rows = read_metrics(run)
    steps = max((row["step"] for row in rows), default=0)
    heard = recipe.data.batch_size * recipe.data.segment_seconds / 3600
    intervals = [row[key] for row in rows for key in ("speed", "audio_seconds_per_second") if key in row]
    spent = sum(3600 * heard * train.log_every / speed for speed in intervals)
    objective = Objective(recipe)
    weights = objective.weights | objective.adversarial_weights
    weights |= {name: getattr(recipe.loss, name) for name in TOKENS}
    losses = ", ".join(f"{name.replace('_', ' ')} {weight:g}" for name, weight in weights.items() if weight)
    found = [row for row in rows if "validation_stoi" in row]
    score = {name.removeprefix("validation_"): value for name, value in (found or [{}])[-1].items() if name != "step"}
    said = ", ".join(f"{name} {value:.3f}" for name, value in score.items() if name in ("pesq_wb", "stoi"))
    return (
        f"- {run.name}: {steps} steps of {recipe.data.batch_size} x {recipe.data.segment_seconds:g} s, "
        f"{steps * heard:.0f} h heard in {spent / 3600:.1f} h; {train.optimizer}, learning rate\n  "
        f"{train.learning_rate:g}; losses: {losses}; {100 * train.lost_rate:g} % of the segments lose tokens; EMA "
        f"{train.ema:g}." + (f"\n  Validation at its end: {said}." if said else "")
    )


def data(manifest: Path, recipe: Recipe | None) -> str:
    """The training split by source."""
    clips = read_manifest(manifest, recipe.data.split if recipe else "train")
    named = set(recipe.data.validation_speakers if recipe else [])
    held_out = named & {clip.speaker for clip in clips}
    clips = [clip for clip in clips if clip.speaker not in held_out]
    groups = defaultdict(list)
    for clip in clips:
        groups[plain(clip.source)].append(clip)
    table = [["source", "hours", "speakers"]]
    for source, group in groups.items():
        hours = sum(clip.seconds or 0 for clip in group) / 3600
        table.append([source, f"{hours:.1f}", str(len({clip.speaker for clip in group}))])
    total = sum(clip.seconds or 0 for clip in clips) / 3600
    note = f" {len(held_out)} more speakers were held out to validate." if held_out else ""
    return "\n".join([f"{total:.1f} h of speech.{note}\n", *markdown_table(table)])


if __name__ == "__main__":
    main()
