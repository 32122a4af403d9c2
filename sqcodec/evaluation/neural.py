"""Neural codecs that run in this process: this package's models, and others from weights that lie here.

Nothing is downloaded. Clips have one channel and are coded whole. Where a system takes KBPS, as many codebooks as fit
are used (EnCodec: one of the model's bandwidths), without it all of them.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sqcodec.extras import MissingExtra, require, stand_in, version

from .systems import Coded, SystemInfo, split_rate, system
from .utterances import Utterance


class Counted(NamedTuple):
    """What codes take: bits that the decoder needs; integers [N] or [N, Q], where they are such an array; bits of these
    where they are entropy coded."""

    payload_bits: int
    tokens: np.ndarray | None = None
    compact_bits: int | None = None


class NeuralCodec:
    """Subclasses load a model and say how it codes.

    `sample_rate` in Hz, `bit_rate` in bit/s, `bits` of one token; `package` is what runs it, `files` its weights.
    """

    in_process = True  # its peak memory can be measured
    sample_rate: int
    bit_rate: float
    bits: float
    name: str
    package: str
    files: list[Path]

    def encode(self, samples: np.ndarray) -> Any:
        """Samples float32 [T] to codes, whatever `decode` takes."""
        raise NotImplementedError

    def decode(self, codes: Any, length: int) -> np.ndarray:
        """Codes to samples, `length` of them where the codec has no delay."""
        raise NotImplementedError

    def count(self, codes: Any) -> Counted:
        """How many bits codes take."""
        raise NotImplementedError

    def info(self) -> SystemInfo:
        versions = {self.package: version(self.package)}
        weights = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        label = f"{self.name} {self.bit_rate / 1000:.3g}"
        return SystemInfo(
            label, self.bit_rate, self.sample_rate, versions, f"{label} {self.bit_rate} {versions} {weights}"
        )

    def code(self, utterance: Utterance) -> Coded:
        samples = utterance.load(self.sample_rate)
        start = time.perf_counter()
        codes = self.encode(samples)
        middle = time.perf_counter()
        decoded = np.asarray(self.decode(codes, len(samples)), np.float32).reshape(-1)
        seconds = middle - start, time.perf_counter() - middle
        bits, tokens, compact = self.count(codes)
        return Coded(decoded, self.sample_rate, bits, None, tokens, *seconds, compact_bits=compact)

    def fitting(self, text: str, each: float, allowed: list[int], wanted: float | None) -> int:
        """The most codebooks of those `allowed`, of `each` bit/s, that fit in `wanted` kbit/s; ValueError for none."""
        counts = [count for count in allowed if wanted is None or count * each <= 1005 * wanted]
        if not counts:
            raise ValueError(f"{text}: the lowest rate of this model is {allowed[0] * each / 1000:.3g} kbit/s.")
        return max(counts)


@system("sqcodec")
class SqcodecModel(NeuralCodec):
    """A model of this package. The payload is what the .sqc file's packing takes."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        import sqcodec

        self._setting, rate = split_rate(setting)
        self._codec = sqcodec.load(self._setting, device=device)
        self.sample_rate = int(self._codec.sample_rate)
        self._bits = self._codec.config.pick_bits(kbps=rate)
        self._at = f" @ {rate:g} kbit/s" if rate else ""

    def info(self) -> SystemInfo:
        codec = self._codec
        return SystemInfo(
            (codec.name or self._setting) + self._at,
            1000 * codec.config.kbps(self._bits),
            self.sample_rate,
            {"torch": version("torch")},
            f"sqcodec {codec.weights_hash}" + (f" {self._bits} bits" if self._bits else ""),
            codec.config.codes(self._bits),
        )

    def encode(self, samples: np.ndarray) -> Any:
        return self._codec.encode(samples, self.sample_rate, bits=self._bits)

    def decode(self, codes: Any, length: int) -> np.ndarray:
        return self._codec.decode(codes, length=length, bits=self._bits).float().cpu().numpy()

    def count(self, codes: Any) -> Counted:
        from sqcodec import container
        from sqcodec.entropy import BlockWriter

        codec, tokens = self._codec, codes.reshape(-1).cpu().numpy()
        size = codec.config.codes(self._bits)
        bits = 8 * container.packed_size(len(tokens), size)
        if not codec.has_predictor:
            return Counted(bits, tokens)
        writer = BlockWriter(codec.predictor, 1, size, codec.levels)
        writer.push(tokens[None])
        return Counted(bits, tokens, min(8 * len(writer.flush()), bits))


@system("onnx")
class OnnxModel(NeuralCodec):
    """What `sqcodec export onnx` wrote, in ONNX Runtime: `onnx:FOLDER[:KBPS]`."""

    package = "onnxruntime"

    def __init__(self, kind: str, setting: str, device: str) -> None:
        from sqcodec import container

        folder, rate = split_rate(setting)
        self.name, self.files = Path(folder).name, sorted(Path(folder).glob("*.onnx"))
        if len(self.files) != 2:
            raise MissingExtra(f"onnx:{setting}: '{folder}' is no folder of `sqcodec export onnx`.")
        require(self.package, "onnx", "onnx:")
        from sqcodec.export.onnx import OnnxCoder

        self._about = about = json.loads(Path(folder, "model.json").read_text(encoding="utf-8"))
        self.sample_rate, self._codes, self._cut, bits = int(about["sample_rate"]), about["codebook_size"], 0, None
        token_rate = self.sample_rate * about["tokens_per_frame"] / about["frame_length"]
        if "bits" in about:
            fewest, default, most = about["bits"]
            allowed = list(range(fewest, most + 1)) if rate else [default]
            bits = self.fitting(f"onnx:{setting}", token_rate, allowed, rate)
            self._codes, self._cut = 2**bits, most - bits
        self.bit_rate = token_rate * math.log2(self._codes)
        self._encoder, self._decoder = OnnxCoder(folder, "encoder"), OnnxCoder(folder, "decoder", bits)
        self._packed = container.packed_size

    def encode(self, samples: np.ndarray) -> Any:
        frame = self._about["frame_length"]
        self._encoder.start()
        frames = -(-(len(samples) + self._about["lookahead"]) // frame)
        return self._encoder.push(np.pad(samples, (0, frames * frame - len(samples)))[None]) >> self._cut

    def decode(self, codes: Any, length: int) -> np.ndarray:
        self._decoder.start()
        return self._decoder.push(codes)[0, self._about["lookahead"] :][:length]

    def count(self, codes: Any) -> Counted:
        return Counted(8 * self._packed(codes.size, self._codes), codes[0])


class TorchCodec(NeuralCodec):
    """A model of another package, in PyTorch."""

    device: str

    def __init__(self, package: str, extra: str, files: list[Path], text: str) -> None:
        for file in files:
            if not file.is_file():
                raise MissingExtra(f"{text}: there is no weights file '{file}'.")
        self.package, self.files, self._torch = package, files, require("torch", extra, text)

    def encode(self, samples: np.ndarray) -> Any:
        with self._torch.inference_mode():
            return self.run_encoder(self._torch.from_numpy(samples)[None, None].to(self.device))

    def decode(self, codes: Any, length: int) -> np.ndarray:
        with self._torch.inference_mode():
            return self.run_decoder(codes).float().cpu().numpy().reshape(-1)[:length]

    def run_encoder(self, values: Any) -> Any:
        """Values [1, 1, T] to codes."""
        raise NotImplementedError

    def run_decoder(self, codes: Any) -> Any:
        """Codes to values."""
        raise NotImplementedError

    def count(self, codes: Any) -> Counted:
        tokens = codes.reshape(-1, codes.shape[-1]).T.cpu().numpy()  # [N, Q]
        return Counted(round(tokens.size * self.bits), tokens)


@system("hf")
class TransformersCodec(TorchCodec):
    """EnCodec, DAC or Mimi: `hf:FOLDER[:KBPS]`, a folder of weights in the transformers format."""

    def __init__(self, kind: str, setting: str, device: str) -> None:
        folder, rate = split_rate(setting)
        if not Path(folder, "config.json").is_file():
            raise MissingExtra(f"hf:{setting}: '{folder}' is no folder with config.json and weights.")
        super().__init__("transformers", "baselines", sorted(Path(folder).iterdir()), f"hf:{setting}")
        transformers = require("transformers", "baselines", "hf:")
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type not in ("encodec", "dac", "mimi"):
            raise ValueError(f"hf:{setting} is a '{config.model_type}' model; choose one of encodec, dac, mimi.")
        self._model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).to(device).eval()
        self._kind, self.device, self.name = config.model_type, device, Path(folder).name
        self.sample_rate, self.bits = int(config.sampling_rate), math.log2(config.codebook_size)
        if self._kind == "mimi":
            frame_rate = config.frame_rate
        else:
            ratios = getattr(config, "upsampling_ratios", None) or config.downsampling_ratios
            frame_rate = self.sample_rate / math.prod(ratios)
        each = self.bits * frame_rate
        if self._kind == "encodec":
            allowed = [round(1000 * bandwidth / each) for bandwidth in config.target_bandwidths]
        else:
            allowed = list(range(1, (config.num_quantizers if self._kind == "mimi" else config.n_codebooks) + 1))
        self._count = self.fitting(f"hf:{setting}", each, allowed, rate)
        self.bit_rate = self._count * each

    def run_encoder(self, values: Any) -> Any:
        if self._kind == "encodec":
            encoded = self._model.encode(values, bandwidth=self.bit_rate / 1000)
            self._scales = encoded.audio_scales
            return encoded.audio_codes
        counted = {"num_quantizers" if self._kind == "mimi" else "n_quantizers": self._count}
        return self._model.encode(values, **counted).audio_codes

    def run_decoder(self, codes: Any) -> Any:
        if self._kind == "encodec":
            return self._model.decode(codes, self._scales).audio_values
        return self._model.decode(audio_codes=codes).audio_values


@system("dac")
class Dac(TorchCodec):
    """Descript Audio Codec (Kumar et al., arXiv 2306.06546): `dac:FILE[:KBPS]`, from `python -m dac download`."""

    name = "DAC"

    def __init__(self, kind: str, setting: str, device: str) -> None:
        path, rate = split_rate(setting)
        super().__init__("descript-audio-codec", "dac", [Path(path)], f"dac:{setting}")
        with stand_in("torchaudio"):  # its tools import it for reading files, which is not done here
            package = require("dac", "dac", "dac:")
        self._model = package.DAC.load(path).to(device).eval()
        self.device, self.sample_rate = device, int(self._model.sample_rate)
        self.bits = math.log2(self._model.codebook_size)
        each = self.bits * self.sample_rate / self._model.hop_length
        self._count = self.fitting(f"dac:{setting}", each, list(range(1, self._model.n_codebooks + 1)), rate)
        self.bit_rate = self._count * each

    def run_encoder(self, values: Any) -> Any:
        return self._model.encode(self._model.preprocess(values, self.sample_rate), n_quantizers=self._count)[1]

    def run_decoder(self, codes: Any) -> Any:
        return self._model.decode(self._model.quantizer.from_codes(codes)[0])


@system("snac")
class Snac(TorchCodec):
    """SNAC (Siuzdak et al., arXiv 2410.14411): `snac:FOLDER` of `config.json` and `pytorch_model.bin`.

    Its codebooks have several rates, so there is no single array of tokens.
    """

    name = "SNAC"

    def __init__(self, kind: str, setting: str, device: str) -> None:
        files = [Path(setting) / name for name in ("config.json", "pytorch_model.bin")]
        super().__init__("snac", "snac", files, f"snac:{setting}")
        model = require("snac", "snac", "snac:").SNAC.from_config(str(files[0]))
        model.load_state_dict(self._torch.load(files[1], map_location="cpu", weights_only=True))
        self._model: Any = model.to(device).eval()
        self.device, self.sample_rate, self.bits = device, int(model.sampling_rate), math.log2(model.codebook_size)
        self.bit_rate = self.bits * sum(self.sample_rate / model.hop_length / stride for stride in model.vq_strides)

    def run_encoder(self, values: Any) -> Any:
        return self._model.encode(values)

    def run_decoder(self, codes: Any) -> Any:
        return self._model.decode(codes)

    def count(self, codes: Any) -> Counted:
        return Counted(round(sum(part.numel() for part in codes) * self.bits))


@system("lyra")
class Lyra(NeuralCodec):
    """Lyra 2 (Google, Apache-2.0) from its three TFLite files: 4 bits for each of 16, 30 or 46 quantizers, 50 Hz.

    SQCODEC_LYRA_DIR names their folder. They run in `ai-edge-litert`, one 20 ms frame at a time; the interpreters keep
    the streaming state, so each clip has fresh ones.
    """

    name, sample_rate, frame, bits, package = "Lyra 2", 16000, 320, 4.0, "ai-edge-litert"
    QUANTIZERS = {"3.2": 16, "6": 30, "6.0": 30, "9.2": 46}
    FILES = ("soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite")

    def __init__(self, kind: str, setting: str, device: str) -> None:
        if setting not in self.QUANTIZERS:
            raise ValueError(f"'lyra:{setting}': choose one of 3.2, 6, 9.2.")
        self.quantizers = self.QUANTIZERS[setting]
        self.bit_rate = 200.0 * self.quantizers
        folder = os.environ.get("SQCODEC_LYRA_DIR", "")
        self.files = [Path(folder, name) for name in self.FILES]
        missing = [file.name for file in self.files if not file.is_file()]
        if not folder or missing:
            where = f"'{folder}' has no {missing[0]}" if folder else "it is not set"
            raise MissingExtra(
                f"lyra:{setting} needs SQCODEC_LYRA_DIR, the folder of {', '.join(self.FILES)}: {where}."
            )
        self._litert = require("ai_edge_litert.interpreter", "lyra", "Lyra")

    def code(self, utterance: Utterance) -> Coded:
        encoder, quantizer, decoder = (self._interpreter(file) for file in self.files)
        self._encode = encoder.get_signature_runner("serving_default")
        self._quantize = quantizer.get_signature_runner("encode")
        self._dequantize = quantizer.get_signature_runner("decode")
        self._decode = decoder.get_signature_runner("serving_default")
        return super().code(utterance)

    def encode(self, samples: np.ndarray) -> list[np.ndarray]:
        padded = np.pad(samples, (0, -len(samples) % self.frame)).astype(np.float32)
        count, codes = np.array(self.quantizers, np.int32), []
        for frame in padded.reshape(-1, 1, self.frame):
            features = self._encode(input_audio=frame)["output_0"]
            found = next(iter(self._quantize(input_frames=features, num_quantizers=count).values()))
            found = np.array(found, np.int32)
            found[self.quantizers :] = -1
            codes.append(found)
        return codes

    def decode(self, codes: list[np.ndarray], length: int) -> np.ndarray:
        decoded = []
        for code in codes:
            features = next(iter(self._dequantize(encoding_indices=code).values()))
            decoded.append(np.array(next(iter(self._decode(input_audio=features).values()))).reshape(-1))
        return np.concatenate(decoded)

    def count(self, codes: list[np.ndarray]) -> Counted:
        return Counted(4 * self.quantizers * len(codes))

    def _interpreter(self, file: Path) -> Any:
        interpreter = self._litert.Interpreter(model_path=str(file), num_threads=1)
        interpreter.allocate_tensors()
        return interpreter
