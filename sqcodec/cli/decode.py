"""`sqcodec decode`: code files to audio."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .files import CODE_EXTENSION, PIPE, Job, plan
from .jobs import Coded, Progress, binary_stdout, read_input, run_jobs
from .options import add_coding_options, add_inputs, load_codec

if TYPE_CHECKING:
    from sqcodec.codec import Codec
    from sqcodec.container import CodeHeader

FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "aif", "aiff", "au", "caf", "w64", "rf64")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "decode",
        help=".sqc files to audio",
        description="Decode .sqc files, each with the model that it names, to exactly as many samples as went in.",
        epilog="examples:\n  sqcodec decode in.sqc out.wav\n  sqcodec decode codes/ --out wavs/\n"
        "  sqcodec decode in.sqc - | aplay",
    )
    add_inputs(
        parser,
        "folder for the audio files, mirroring the input folders; or the file (or -) for one input; default: beside "
        "each input. A second argument with an audio extension is the output file",
    )
    parser.add_argument("--format", choices=FORMATS, default="wav", help="of outputs that are not named")
    parser.add_argument("--subtype", help="of the samples: PCM_16 (default), PCM_24, FLOAT, ...")
    parser.add_argument(
        "--original-rate",
        action="store_true",
        help="resample to the rate and exact length of what was encoded; default: the model's rate",
    )
    parser.add_argument(
        "--allow-mismatch",
        action="store_true",
        help="decode with --model even if other weights made the tokens (the result is noise as a rule)",
    )
    add_coding_options(parser, None)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Decode all inputs; exit status."""
    jobs = plan(
        arguments.inputs,
        arguments.out,
        wanted=[CODE_EXTENSION],
        suffix=f".{arguments.format}",
        output_suffixes=[f".{name}" for name in FORMATS],
        opposite="encode",
    )
    codecs = _Codecs(arguments)
    return run_jobs(jobs, arguments, lambda job, progress: decode_file(codecs, job, progress, arguments))


def decode_file(codecs: _Codecs, job: Job, progress: Progress, arguments: argparse.Namespace) -> Coded:
    """Decode one file in bounded memory. Raises ValueError or OSError, and leaves no partial file."""
    from sqcodec import audio, container

    data = read_input(job)
    header, tokens = container.open_tokens(data, find_predictor=lambda found: codecs.find(found, job.source).predictor)
    if arguments.original_rate:
        try:
            audio.check_rate(header.original_sample_rate)
        except ValueError as error:
            raise ValueError(f"{job.source}: {error}; without --original-rate it is not resampled") from None
    codec = codecs.find(header, job.source)
    progress.begin(header.seconds)
    if arguments.original_rate:
        rate, length = header.original_sample_rate, header.num_samples
    else:
        rate, length = codec.sample_rate, header.coded_length
    with _target(job) as target:
        with audio.AudioWriter(
            target,
            rate,
            header.num_channels,
            source_rate=codec.sample_rate,
            length=length,
            subtype=arguments.subtype,
            extension=f".{arguments.format}",
        ) as writer:
            for block in codec.decode_blocks(tokens, header.coded_length, bits=header.bits):
                writer.write(block)
                progress.add(block.shape[1] / codec.sample_rate)
    return Coded.of(job, codec, header, len(data), progress.elapsed)


class _Codecs:
    """The models that the code files ask for, each loaded once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._loaded: dict[str, Codec] = {}
        self._folders: dict[tuple[str, str], str] = {}

    def find(self, header: CodeHeader, source: str) -> Codec:
        """The model for a file. Raises ValueError where it is not here or did not make the file."""
        needed = f"model {header.model!r} with hash {header.weights_hash}"
        name = self._arguments.model or self._registered(header, source, needed)
        codec = self._load(name)
        if not codec.matches(header.weights_hash) and not self._arguments.allow_mismatch:
            raise ValueError(
                f"{source}: made by {needed}; the model {codec.name!r} here has hash {codec.weights_hash[:16]}. "
                "Point to the right one with --model NAME|FOLDER"
            )
        codes = (header.sample_rate, header.codebook_size, header.levels, header.bits_range)
        own = (codec.sample_rate, codec.config.codes(header.bits), codec.levels, codec.bits_range)
        if codes != own:
            raise ValueError(
                f"{source}: its codes (Hz, K, levels, bits: {codes}) are not those of the model {codec.name!r} "
                f"({', '.join(map(str, own))}); it needs {needed}"
            )
        if header.coded_length > header.num_tokens * codec.hop_length:
            raise ValueError(
                f"{source}: damaged: {header.num_tokens} tokens give at most "
                f"{header.num_tokens * codec.hop_length} samples, not {header.coded_length}"
            )
        wanted, slack = codec.token_count(header.coded_length), codec.config.pad_multiple // codec.hop_length
        if header.num_tokens > wanted + slack:
            raise ValueError(
                f"{source}: damaged: {header.coded_length} samples are {wanted} tokens, not {header.num_tokens}"
            )
        return codec

    def _load(self, name: str) -> Codec:
        if name not in self._loaded:
            options = self._arguments
            self._loaded[name] = load_codec(name, options.device, options.threads, options.precision, options.compile)
        return self._loaded[name]

    def _registered(self, header: CodeHeader, source: str, needed: str) -> str:
        """Folder of the registered model that made a file: by name, or by hash where it has another name here. A name
        in a file is never taken for a folder."""
        from sqcodec import registry

        key = (header.model, header.weights_hash)
        if key not in self._folders:
            named = registry.find_registered(header.model)
            found: Path | None = None
            if named is not None and self._load(str(named)).matches(header.weights_hash):
                found = named
            else:
                found = registry.find_by_hash(header.weights_hash)
                if found is None and self._arguments.allow_mismatch:
                    found = named
            self._folders[key] = "" if found is None else str(found)
        if not self._folders[key]:
            raise ValueError(
                f"{source}: needs {needed}, and no model of that hash is registered here. Register it with "
                "'sqcodec import FOLDER --as NAME' (a run folder, a model folder or published files), or point to it "
                "with --model FOLDER"
            )
        return self._folders[key]


@contextmanager
def _target(job: Job) -> Iterator[str | BinaryIO]:
    if job.target == PIPE:
        with binary_stdout() as stream:
            yield stream
    else:
        yield job.target
