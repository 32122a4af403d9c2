"""Codes and decodes one clip with the shipped model, as a user would, and says what came out.

usage: python scripts/demo.py CLIP OUTPUT_FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import soundfile


def main(clip: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    original, code, decoded = folder / "original.wav", folder / "speech.sqc", folder / "decoded.wav"
    samples, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(original, samples, rate)
    encode = run("encode", str(original), str(code), "--force", "--json")
    decode = run("decode", str(code), str(decoded), "--force", "--json")
    output, output_rate = soundfile.read(decoded, dtype="float32")
    seconds, coded, plain = len(samples) / rate, code.stat().st_size, original.stat().st_size
    print(f"\nseconds of speech    {seconds:.2f}")
    print(f".sqc file            {coded} bytes, {coded * 8 / seconds / 1000:.2f} kbit/s")
    print(f"wav (16 bit)         {plain} bytes, {plain / coded:.0f} times as large")
    for name, value in scores(samples, output, rate, output_rate).items():
        print(f"{name:<20} {value}")
    for name, report in (("encode", encode), ("decode", decode)):
        speed = f"{report['times_real_time']:.0f} times real time"
        print(f"{name} speed         {speed} (one short clip, the process just started)")
    print(f"\nListen: {original}, {decoded}. The .sqc file: {code}")


def run(*arguments: str) -> dict:
    """One sqcodec command, shown as it is run; its JSON report."""
    command = [str(Path(sys.executable).with_name("sqcodec")), *arguments]
    print("$ sqcodec", *arguments, flush=True)
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.strip().splitlines()[-1])


def scores(reference, output, rate: int, output_rate: int) -> dict[str, str]:
    """PESQ-WB and STOI where their packages are installed."""
    if rate != output_rate or rate != 16000:
        return {"scores": f"left out: they need 16 kHz, this is {rate} and {output_rate} Hz"}
    found = {}
    try:
        from pesq import pesq

        found["PESQ-WB"] = f"{pesq(rate, reference, output, 'wb'):.2f} (1 to 4.64)"
    except ImportError:
        found["PESQ-WB"] = "left out: pip install pesq (needs a C compiler)"
    try:
        from pystoi import stoi

        found["STOI"] = f"{stoi(reference, output, rate):.3f} (0 to 1)"
    except ImportError:
        found["STOI"] = "left out: pip install pystoi"
    return found


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
