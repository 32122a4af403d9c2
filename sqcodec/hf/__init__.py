"""The codec as `transformers` has its audio codecs: needs the extra `lm`.

    model = SQCodecModel.from_codec(sqcodec.load("speech-3k"))
    model.save_pretrained(FOLDER); SQCodecFeatureExtractor(model.config.sampling_rate).save_pretrained(FOLDER)
    model = AutoModel.from_pretrained(FOLDER, trust_remote_code=True)   # or import sqcodec.hf first, without it

A saved folder holds a few lines of code that import this package: it must be installed where the folder is loaded.
"""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from .configuration import SQCodecConfig
from .features import SQCodecFeatureExtractor
from .model import SQCodecDecoderOutput, SQCodecEncoderOutput, SQCodecModel, SQCodecOutput

AutoConfig.register("sqcodec", SQCodecConfig, exist_ok=True)
AutoModel.register(SQCodecConfig, SQCodecModel, exist_ok=True)
AutoFeatureExtractor.register(SQCodecConfig, SQCodecFeatureExtractor, exist_ok=True)

__all__ = [
    "SQCodecConfig",
    "SQCodecDecoderOutput",
    "SQCodecEncoderOutput",
    "SQCodecFeatureExtractor",
    "SQCodecModel",
    "SQCodecOutput",
]
