"""The shipped model against its plain network and other codecs: `sqcodec bench` for all lengths, batches and threads.

    python benchmarks/run.py [--peers encodec mimi dac] [--quick | --cases 1x1 10x16] [--threads 1 2] [--memory]

Every row of a block is measured in turn in one process, several rounds; ratios are those of a round, so they hold on a
busy machine too. On two cores all of it takes about half an hour. Peers have random weights; a missing one is reported
and left out. encodec, mimi and dac need `pip install transformers`; sq-codec and l3ac, which can be named too, their
authors' packages (scripts/parity.py says how to install them).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch

CASES = ("1x1", "10x1", "1x16", "10x16", "600x1")
"""Seconds x clips at once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=["encodec", "mimi", "dac"])
    parser.add_argument("--model", default="speech-3k")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="SxB", help=f"default: {' '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="only 10x1")
    parser.add_argument("--memory", action="store_true", help="also each row in a process of its own, for its peak")
    parser.add_argument("--rounds", type=int, help="default: 5, 3 in the long cases")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    arguments = parser.parse_args()
    cases = [case.split("x") for case in (["10x1"] if arguments.quick else arguments.cases)]
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, devices: {', '.join(devices)}")
    blocks = []
    for device in devices:
        for threads in arguments.threads if device == "cpu" else [1]:
            for seconds, batch in cases:
                block = measure(arguments, device, threads, float(seconds), int(batch))
                if block:
                    blocks.append(block)
                    show(block)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(blocks, indent=1))


def measure(arguments: argparse.Namespace, device: str, threads: int, seconds: float, batch: int) -> dict | None:
    """One block. The peers and the streams are left out of the long one: they would take most of an hour."""
    long = seconds * batch > 200
    command = [sys.executable, "-m", "sqcodec", "bench", "--json", "--model", arguments.model, "--device", device]
    command += ["--threads", str(threads), "--seconds", str(seconds), "--batch", str(batch)]
    command += ["--rounds", str(arguments.rounds or (3 if seconds * batch > 60 else 5))]
    if long:
        command += ["--stream", "0"]
    elif arguments.peers:
        command += ["--peers", *arguments.peers]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{batch} x {seconds:g} s, {threads} threads, {device}: failed, see above", file=sys.stderr)
        return None
    block = json.loads(done.stdout)
    for row in block["results"] if arguments.memory else ():
        alone = subprocess.run([*command, "--rounds", "1", "--only", row["system"]], stdout=subprocess.PIPE, text=True)
        row["peak_mib"] = json.loads(alone.stdout)["peak_mib"]
    return block


def show(block: dict) -> None:
    """A block as a markdown table."""
    print(f"\n{block['batch']} x {block['seconds']:g} s, {block['threads']} threads, {block['device']}\n")
    head = "| system | encode, x real time | our time / its time | decode, x real time | our time / its time |"
    memory = any("peak_mib" in row for row in block["results"])
    print(head + " peak memory, MiB |" if memory else head)
    print("|---|---|---|---|---|" + ("---|" if memory else ""))
    for row in block["results"]:
        cells = [row["system"]]
        for what in ("encode", "decode"):
            middle, low, high = row[f"{what}_ratio"]
            cells += [f"{row[f'{what}_speed']:.1f}", f"{middle:.3f} ({low:.3f} to {high:.3f})"]
        cells += [f"{row['peak_mib']:.0f}"] if "peak_mib" in row else []
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
