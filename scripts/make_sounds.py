"""The page of the documentation with sounds, docs/sounds.md, from an evaluation.

    sqcodec evaluate tests/data --model speech-3k --baselines opus:6,codec2:3200 --metrics pesq_wb,stoi --out report
    python scripts/make_sounds.py report --seconds 5 --credits tests/data/ATTRIBUTIONS.md

Every browser plays MP3. Originals are MP3 too: one hears the codecs, not the difference of two formats.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from pathlib import Path

import soundfile

from sqcodec.evaluation.results import Results
from sqcodec.evaluation.tables import markdown_table
from sqcodec.evaluation.work import clip_path

HEAD = """# Sounds

What our models and other codecs make of speech that the models were not trained on: the first {seconds:g} s of each
clip, all as MP3 at 64 kbit/s, originals too; the scores are of whole clips. Press play on another system of the same
clip while one plays: it goes on at the same place.

"""
TAIL = """
## How this page is made

By `scripts/make_sounds.py` from

```text
{command}
```
"""
SCRIPT = """
<script>
const players = document.querySelectorAll("audio");
players.forEach((player) => player.addEventListener("play", () => players.forEach((other) => {
  if (other === player || other.paused) return;
  other.pause();
  if (other.dataset.clip === player.dataset.clip) player.currentTime = other.currentTime;
})));
</script>
"""
SPEAKER = re.compile(r"^\| `([^`]+)\.\w+` \| ([^|]+) \|", re.MULTILINE)
"""A row of the table of clips in the credits: its name, and who speaks in which language."""
MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": 0.632}
"""64 kbit/s: libsndfile has 160 for 0 and 8 for 1."""


def make_page(report: Path, docs: Path, seconds: float, credits: str) -> int:
    """Writes sounds.md and sounds/; returns the bytes of all sounds."""
    results = Results.load(report / "results.json")
    folder = docs / "sounds"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    text = HEAD.format(seconds=seconds)
    speakers = dict(SPEAKER.findall(credits))
    rows = {(row.system, row.utterance): row for row in results.rows if row.status == "ok"}
    for clip in sorted({utterance for _, utterance in rows}):
        table = [["system", " ", "kbit/s", *(metric["label"] for metric in results.metrics.values())]]
        title = f"Speaker {speakers[clip]}" if clip in speakers else clip
        for system, info in {"reference": {"label": "original"}, **results.systems}.items():
            row = rows.get((system, clip))
            if system != "reference" and (row is None or info["text"] == "original"):
                continue
            rate = f"{results.summary[system]['payload_bit_rate'] / 1000:.2f}" if row else "256"
            scores = [
                f"{row.scores[name]:.{metric['digits']}f}" if row and name in row.scores else ""
                for name, metric in results.metrics.items()
            ]
            name = re.sub(r"[^\w.-]+", "-", f"{clip}-{system}") + ".mp3"
            samples, sample_rate = soundfile.read(clip_path(report, system, clip), frames=int(seconds * 16000))
            soundfile.write(folder / name, samples, sample_rate, **MP3)
            player = f'<audio controls preload="none" data-clip="{clip}" src="sounds/{name}"></audio>'
            table.append([info["label"], player, rate, *scores])
        text += "\n".join([f"## {title}\n", *markdown_table(table), "", ""])
    (docs / "sounds.md").write_text(f"{text}{credits}{TAIL.format(command=results.command)}{SCRIPT}", encoding="utf-8")
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="what sqcodec evaluate wrote")
    parser.add_argument("--docs", type=Path, default=Path(__file__).parents[1] / "docs")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each clip; default: 6")
    parser.add_argument("--credits", type=Path, help="Markdown on who made the clips; its title is made smaller")
    arguments = parser.parse_args()
    credits = "#" + arguments.credits.read_text(encoding="utf-8") if arguments.credits else ""
    size = make_page(arguments.report, arguments.docs, arguments.seconds, credits)
    print(f"{os.path.relpath(arguments.docs / 'sounds.md')}, {size / 1e6:.2f} MB of sounds")


if __name__ == "__main__":
    main()
