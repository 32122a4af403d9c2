"""`sqcodec cut`: code files to fewer bits, without the network and torch; compact ones need the model's predictor."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .files import CODE_EXTENSION, PIPE, Job, plan
from .jobs import Coded, Progress, read_input, run_jobs, write_output
from .options import add_inputs, add_options, add_rate_options
from .parser import UsageError

if TYPE_CHECKING:
    from sqcodec.container import CodeHeader
    from sqcodec.entropy import Predictor


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "cut",
        help=".sqc files to a lower bit rate, without the model",
        description="Cut the tokens of .sqc files to fewer bits: the same files, bit for bit, as coding at that rate "
        "gives. For models with several rates (`sqcodec models`). Takes a moment and needs no model; of compact files, "
        "its predictor.",
        epilog="examples:\n  sqcodec cut in.sqc out.sqc --kbps 1.5\n  sqcodec cut codes/ --out small/ --bits 12\n"
        "  sqcodec cut in.sqc - --kbps 1.5 | sqcodec decode - out.wav",
    )
    add_inputs(
        parser,
        "folder for the new files, mirroring the input folders; or the file (or -) for one input. Of two arguments the "
        "second one is the output",
    )
    add_rate_options(parser, required=True)
    add_options(parser, "--force", "--json", "--quiet")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Cut all inputs; exit status."""
    inputs, out = arguments.inputs, arguments.out
    if out is None and len(inputs) == 2:  # both end in .sqc: where the second one is not there yet, it is the output
        inputs, out = inputs[:1], inputs[1]
    if out is None and inputs != [PIPE]:
        raise UsageError("name the output: sqcodec cut IN OUT, or --out FOLDER for several inputs")
    suffixes = [CODE_EXTENSION]
    jobs = plan(inputs, out, wanted=suffixes, suffix=CODE_EXTENSION, output_suffixes=suffixes)
    return run_jobs(jobs, arguments, lambda job, progress: cut_file(job, progress, arguments))


def cut_file(job: Job, progress: Progress, arguments: argparse.Namespace) -> Coded:
    """Cut one file. Raises ValueError or OSError, and leaves no partial file."""
    from sqcodec import container

    progress.begin(None)
    data = container.cut(read_input(job), arguments.bits, arguments.kbps, _find_predictor)
    return Coded.of(job, None, container.loads_header(data), write_output(job, data), progress.elapsed)


def _find_predictor(header: CodeHeader) -> Predictor:
    """That of the registered model that made a compact file. Raises ValueError where it is not here."""
    from sqcodec import registry
    from sqcodec.entropy import PREDICTOR_NAME, Predictor

    folder = registry.find_by_hash(header.weights_hash)
    if folder is None or not (folder / PREDICTOR_NAME).is_file():
        raise ValueError(
            f"compact: its tokens need the predictor of the model {header.model!r} with hash {header.weights_hash}, "
            "which is not registered here"
        )
    return Predictor.load(folder / PREDICTOR_NAME)
