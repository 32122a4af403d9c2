"""Audio in and out: soundfile for the files, soxr for the rates, in blocks of bounded size.

Letters: C channels, T samples per channel. Samples are float32 [C, T], full scale at -1 and 1. Resampling
from a to b turns T samples into exactly ceil(T * b / a), however they are cut into blocks. What is written
appears under its name whole or not at all. Errors name the file: AudioError (a ValueError) for what is in it,
OSError for what the system refuses. Imports nothing else of the package.
"""

from .cut import is_unknown
from .errors import AudioError, CutAudioError
from .rates import StreamResampler, check_rate, resample
from .reader import BLOCK_SECONDS, SUFFIXES, AudioInfo, AudioReader, info, load, read_blocks
from .writer import FORMATS, AudioWriter, save

__all__ = [
    "BLOCK_SECONDS",
    "FORMATS",
    "SUFFIXES",
    "AudioError",
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "CutAudioError",
    "StreamResampler",
    "check_rate",
    "info",
    "is_unknown",
    "load",
    "read_blocks",
    "resample",
    "save",
]
