"""`sqcodec encode`: audio to code files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .batches import encode_groups, split_jobs
from .files import CODE_EXTENSION, PIPE, Job, plan
from .jobs import Coded, Progress, code_header, do_jobs, finish, report_failure, write_output
from .options import DEFAULT_MODEL, add_coding_options, add_inputs, add_rate_options, load_codec

if TYPE_CHECKING:
    import numpy as np

    from sqcodec.audio import AudioReader
    from sqcodec.codec import Codec


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "encode",
        help="audio to .sqc files",
        description="Code audio of any format and rate. Each channel is coded by itself. Of many files, the short ones "
        "are coded together, sorted by length, with the same result.",
        epilog="examples:\n  sqcodec encode in.wav out.sqc\n  sqcodec encode in.wav\n"
        "  sqcodec encode corpus/ 'more/**/*.flac' --out codes/\n"
        "  ffmpeg -i talk.mp4 -f wav - | sqcodec encode - talk.sqc",
    )
    add_inputs(
        parser,
        "folder for the .sqc files, mirroring the input folders; or the file (or -) for one input; default: beside "
        "each input. A second argument that ends in .sqc is the output file",
    )
    parser.add_argument("--allow-cut", action="store_true", help="code what is there of a file that was cut off")
    add_rate_options(parser)
    parser.add_argument(
        "--compact",
        action="store_true",
        help="entropy code: the same tokens in a quarter fewer bytes; only for models with a predictor",
    )
    add_coding_options(parser, DEFAULT_MODEL)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Code all inputs; exit status."""
    from sqcodec.audio import SUFFIXES
    from sqcodec.entropy.blocks import needed_symbols

    jobs = plan(
        arguments.inputs,
        arguments.out,
        wanted=SUFFIXES,
        suffix=CODE_EXTENSION,
        output_suffixes=[CODE_EXTENSION],
        opposite="decode",
    )
    hopeless = [job for job in jobs if job.problem]
    failures = sum(report_failure(job, ValueError(job.problem), arguments) for job in hopeless)
    if failures == len(jobs):  # the model takes a second or two
        return finish(failures, len(jobs))
    codec = load_codec(
        arguments.model, arguments.device, arguments.threads, arguments.precision, arguments.compile
    )
    arguments.bits = codec.config.pick_bits(arguments.bits, arguments.kbps)
    if arguments.compact:
        needed_symbols(codec.predictor, codec.config.codes(arguments.bits), codec.levels)
    groups: list[list[Job]] = []
    others = [job for job in jobs if not job.problem]
    if len(others) > 1 and codec.encoder_steps is not None:
        groups, others = split_jobs(others)
    failures += encode_groups(codec, groups, arguments)
    failures += do_jobs(others, arguments, lambda job, progress: encode_file(codec, job, progress, arguments))
    return finish(failures, len(jobs))


def encode_file(codec: Codec, job: Job, progress: Progress, arguments: argparse.Namespace) -> Coded:
    """Code one file in bounded memory. Raises ValueError or OSError, and leaves no partial file."""
    from dataclasses import replace

    from sqcodec import audio, container
    from sqcodec.entropy import BlockWriter

    source = sys.stdin.buffer if job.source == PIPE else job.source
    with audio.AudioReader(source, allow_cut=arguments.allow_cut) as reader:
        declared = reader.info.seconds
        progress.begin(declared if declared < 1e7 else None)
        blocks = _counted(reader, codec.sample_rate, progress)
        size = codec.config.codes(arguments.bits)
        channels = reader.num_channels
        writer = BlockWriter(codec.predictor, channels, size, codec.levels) if arguments.compact else None
        packer = container.Packer(size, writer)
        for tokens in codec.encode_blocks(blocks, bits=arguments.bits):
            packer.push(tokens)
        header = code_header(
            codec, reader.sample_rate, reader.samples_read, reader.num_channels, packer.num_tokens, arguments.bits
        )
    payload = packer.finish()
    header = replace(header, payload_kind=packer.payload_kind)
    size = write_output(job, container.join(header, payload))
    return Coded.of(job, codec, header, size, progress.elapsed)


def _counted(reader: AudioReader, sample_rate: int, progress: Progress) -> Iterator[np.ndarray]:
    for block in reader.blocks(sample_rate):
        yield block
        progress.add(block.shape[1] / sample_rate)
