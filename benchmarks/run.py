"""The shipped model against its plain network and other codecs: `sqcodec bench` for all lengths, batches and threads.

    python benchmarks/run.py [--peers encodec mimi dac] [--quick] [--json FILE]

Every row of a block is measured in turn in one process, several rounds; ratios are those of a round, so they hold on a
busy machine too. Peers need `pip install transformers` (random weights); a missing one is reported and left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch

CASES = ((1.0, 1), (10.0, 1), (1.0, 16), (10.0, 16), (600.0, 1))
"""(seconds, batch)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=["encodec", "mimi", "dac"])
    parser.add_argument("--model", default="speech-3k")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="only 10 s, one at a time")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    arguments = parser.parse_args()
    cases = ((10.0, 1),) if arguments.quick else CASES
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, devices: {', '.join(devices)}")
    blocks = []
    for device in devices:
        for threads in arguments.threads if device == "cpu" else [1]:
            for seconds, batch in cases:
                block = measure(arguments, device, threads, seconds, batch)
                if block:
                    blocks.append(block)
                    show(block)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(blocks, indent=1))


def measure(arguments: argparse.Namespace, device: str, threads: int, seconds: float, batch: int) -> dict | None:
    """One block. The peers are left out of the long one: they would take most of an hour, or all the memory."""
    long = seconds * batch > 200
    command = [sys.executable, "-m", "sqcodec", "bench", "--json", "--model", arguments.model, "--device", device]
    command += ["--threads", str(threads), "--seconds", str(seconds), "--batch", str(batch)]
    command += ["--rounds", "3" if seconds * batch > 60 else "5"]
    command += ["--peers", *arguments.peers] if arguments.peers and not long else []
    code = (
        "import resource, subprocess, sys; status = subprocess.run(sys.argv[1:]).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{batch} x {seconds:g} s, {threads} threads, {device}: failed, see above", file=sys.stderr)
        return None
    text, peak = done.stdout.strip().rsplit("\n", 1)
    return json.loads(text) | {"peak_mib": int(peak) / 1024}


def show(block: dict) -> None:
    """A block as a markdown table."""
    print(f"\n{block['batch']} x {block['seconds']:g} s, {block['threads']} threads, {block['device']}; peak of the "
          f"process {block['peak_mib']:.0f} MiB\n")  # fmt: skip
    print("| system | encode, x real time | our time / its time | decode, x real time | our time / its time |")
    print("|---|---|---|---|---|")
    for row in block["results"]:
        cells = [row["system"]]
        for what in ("encode", "decode"):
            middle, low, high = row[f"{what}_ratio"]
            cells += [f"{row[f'{what}_speed']:.1f}", f"{middle:.3f} ({low:.3f} to {high:.3f})"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
