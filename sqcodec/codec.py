"""The codec: samples to tokens and back, whole or in blocks.

Letters: B batch (or channels), T samples, N tokens.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sqcodec import hub, registry
from sqcodec.audio import check_rate, load, resample
from sqcodec.checkpoint import halved, load_model, load_weights, save_model
from sqcodec.config import ModelConfig
from sqcodec.entropy import PREDICTOR_NAME, Predictor
from sqcodec.identity import hash_model, is_same
from sqcodec.nn import CodecNetwork, Coder, build_coder, build_network
from sqcodec.nn.incremental import LOST, DecoderSteps, EncoderSteps
from sqcodec.nn.inference import InferenceOptions, can_pack

LOUDEST = 1e4
"""Of samples in [-1, 1]: what is beyond is no audio, and would be coded as a buzz."""

Precision = Literal["float32", "bfloat16"]

Samples = np.ndarray | Tensor


class Codec:
    """A model ready to use.

    A frame-rate model is run step by step with the state of its layers, so that pieces of any lengths
    (``encode_blocks``, ``sqcodec.streaming``), batches and whole recordings give the same tokens and samples. Another
    causal model is coded in chunks that overlap by all that its layers can see, cut at fixed positions. A published
    model norms over the whole signal: it is run as its authors do up to 24 s (rounded up to whole attention
    windows), and longer audio as separate pieces of that length.

    Args:
        network: the network; it is put in evaluation mode. Weights that change after the first use are not seen.
        name: model name, kept in code files.
        weights_hash: the model's hash (``sqcodec.identity``), kept in what it codes.
        precision: "bfloat16" runs the large layers in bfloat16: faster where the processor has it, and its tokens
            differ from those of "float32" where a latent lies near a decision boundary.
        compiled: compile what a model with Snake spends most of its time on beside matrix products: once for all
            lengths, 5 s and a C++ compiler the first time, 2 s later; for more than a minute of audio. Nothing
            changes for a model without Snake, such as 'speech-3k', where compiling was measured not to pay.
        also: other hashes that files of this model may carry.
    """

    def __init__(
        self,
        network: CodecNetwork,
        name: str = "",
        weights_hash: str = "",
        precision: Precision = "float32",
        compiled: bool = False,
        also: Sequence[str] = (),
    ) -> None:
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"Unknown precision {precision!r}. Choose one of: float32, bfloat16")
        self.network = network.eval().requires_grad_(False)
        self.name, self.weights_hash, self.precision, self.compiled = name, weights_hash, precision, compiled
        self.also = tuple(also)
        self.folder: Path | None = None
        """Where the model was loaded from."""

    @classmethod
    def from_pretrained(
        cls, model: str | Path, device: str = "cpu", precision: Precision = "float32", compiled: bool = False
    ) -> Codec:
        """Loads a model by name (``sqcodec models`` lists them), from a model or run folder, or from the model hub,
        "owner/name" (extra ``hub``).

        Args:
            device: "cpu", "cuda", "cuda:1", ..., or "auto": the GPU where there is one.
        Raises:
            ValueError: unknown name, damaged file, or weights that do not fit; the message says which.
            ConnectionError: a repository that is not in the cache could not be had.
        """
        folder = hub.fetch_model(str(model)) if hub.is_repository(model) else registry.find_model(model)
        config, tensors, _ = load_model(folder)
        network = build_network(config)
        load_weights(network, tensors)
        network.to(pick_device(device))
        name = folder.name if registry.find_registered(folder.name) == folder else config.name or folder.name
        weights_hash, *also = registry.hashes(folder, hash_model(config, tensors))
        codec = cls(network, name, weights_hash, precision, compiled, also)
        codec.folder = folder
        return codec

    def save_pretrained(self, folder: str | Path, metadata: dict[str, str] | None = None) -> None:
        """Writes ``model.safetensors`` (float32), ``config.toml``, and the predictor where there is one."""
        self.weights_hash = save_model(folder, self.config, self.network.state_dict(), metadata)
        if self.has_predictor:
            self.predictor.save(Path(folder) / PREDICTOR_NAME)

    def push_to_hub(self, repository: str, private: bool = False, message: str = "A codec of sqcodec") -> str:
        """Uploads the model and its card to the model hub, for ``load("owner/name")``; returns the address.

        Args:
            repository: "owner/name", made where there is none. The token is that of ``hf auth login``, or ``HF_TOKEN``.
            private: of a repository that is new.
        Raises:
            ValueError, ImportError, ConnectionError: the name, the extra ``hub``, or the hub.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder, tensors = Path(temporary), self.network.state_dict()
            halves = halved(tensors)
            if all(torch.equal(halves[name].to(value.dtype), value) for name, value in tensors.items()):
                tensors = halves  # as models ship, half the size and the same hash
            save_model(folder, self.config.changed(name=self.name), tensors)
            if self.has_predictor:
                self.predictor.save(folder / PREDICTOR_NAME)
            text = f"# {self.name}\n\n{self!r}\n"
            if self.folder and (self.folder / "CARD.md").is_file():
                text = (self.folder / "CARD.md").read_text(encoding="utf-8")
            shipped = registry.read_index().get(self.name, {}).get("hash") == self.weights_hash
            card = hub.CARD_HEAD.format(licence="mit" if shipped else "other") + text
            (folder / hub.CARD_NAME).write_text(card, encoding="utf-8")
            return hub.push_folder(folder, repository, private, message)

    def to(self, device: str | torch.device) -> Codec:
        """Moves the network, as ``torch.nn.Module.to`` does; itself. Streams that are open stay where they began."""
        self.network.to(pick_device(device))
        self.__dict__.pop("coder", None)
        return self

    def __repr__(self) -> str:
        parameters, rates = sum(parameter.numel() for parameter in self.network.parameters()), self.config.rates
        return (
            f"Codec({self.name!r}: {self.sample_rate} Hz, {self.token_rate:.4g} tokens a second of "
            f"{self.codebook_size}, {self.bit_rate / 1000:.3g} kbit/s{f' (of {rates})' if rates else ''}, "
            f"{parameters / 1e6:.3g} M parameters, "
            f"{self.precision}, {self.device})"
        )

    @property
    def has_predictor(self) -> bool:
        return self.folder is not None and (self.folder / PREDICTOR_NAME).is_file()

    @cached_property
    def predictor(self) -> Predictor:
        """Of the tokens: what compact code files need. Raises FileNotFoundError where the model has none."""
        if self.folder is None or not self.has_predictor:
            raise FileNotFoundError(
                f"the model {self.name!r} has no predictor of its tokens, which compact code files need: train one "
                f"with 'sqcodec entropy train {self.name} --data FOLDER'"
            )
        return Predictor.load(self.folder / PREDICTOR_NAME)

    def matches(self, weights_hash: str) -> bool:
        """Whether what carries this hash (hex, 16 digits or more) was made by this model."""
        known = (self.weights_hash, *self.also)
        return weights_hash == self.weights_hash or any(is_same(own, weights_hash) for own in known)

    @property
    def config(self) -> ModelConfig:
        return self.network.config

    @property
    def sample_rate(self) -> int:
        """Of the coded audio, Hz."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples a token."""
        return self.config.hop_length

    @property
    def token_rate(self) -> float:
        """Tokens a second."""
        return self.config.token_rate

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def levels(self) -> tuple[int, ...] | None:
        """Levels of a scalar quantizer; None for a codebook."""
        return tuple(self.config.quantizer.levels) or None

    @property
    def bit_rate(self) -> float:
        """Nominal, bit/s; of a model with several rates, that of ``default_bits``."""
        return self.config.bit_rate

    @property
    def rates(self) -> dict[int, float]:
        """Bits of a token and what they come to in kbit/s; empty for a model with one rate."""
        return self.config.rates.table() if self.config.rates else {}

    @property
    def bits_range(self) -> tuple[int, int] | None:
        """Fewest and most bits of a token; None for a model with one rate."""
        return (self.config.rates.lowest, self.config.rates.highest) if self.config.rates else None

    @property
    def default_bits(self) -> int | None:
        """Bits of a token where nobody asks for others; None for a model with one rate."""
        return self.config.pick_bits()

    @property
    def lookahead(self) -> int:
        """Samples of the future that a causal model hears beyond the current frame."""
        return self.config.lookahead

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def latency(self) -> int:
        """Samples between a sample going in and coming out of a causal model that streams, at most: what it hears
        ahead, and the frame that has to be complete."""
        return self.lookahead + self.hop_length * self.config.tokens_per_frame

    @cached_property
    def coder(self) -> Coder:
        """What codes with the network, its weights prepared for inference at the first use."""
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        packed = self.device.type == "cpu" and can_pack(dtype)
        return build_coder(self.network, InferenceOptions(dtype, packed, self.compiled))

    @property
    @torch.inference_mode()
    def encoder_steps(self) -> EncoderSteps | None:
        """The encoder for live streams; None for a network that cannot stream exactly."""
        return self.coder.encoder

    @property
    @torch.inference_mode()
    def decoder_steps(self) -> DecoderSteps | None:
        """The decoder for live streams; None for a network that cannot stream exactly."""
        return self.coder.decoder

    def token_count(self, length: int) -> int:
        """Tokens for ``length`` samples at the model's rate, as ``encode`` gives them."""
        return self.coder.token_count(length)

    def encode(
        self,
        samples: Samples | str | os.PathLike[str],
        sample_rate: int | None = None,
        *,
        bits: int | None = None,
        kbps: float | None = None,
    ) -> Tensor:
        """Samples to tokens.

        Args:
            samples: [T] or [B, T], numpy or torch; float in [-1, 1], or int16. Each row is coded by itself. Or the path
                of an audio file, whose channels are the rows.
            sample_rate: Hz; resampled where it is not the model's. None means the model's, or the file's.
            bits: of a token, for a model with several rates (``rates``); whoever decodes has to know them.
            kbps: kbit/s instead: the most bits that fit.
        Returns:
            int64 [B, N]. Tokens of fewer bits are the leading bits of these: ``tokens >> 6`` of 18 has 12.
        Raises:
            ValueError: no samples, more than two dimensions, more rows than samples, or values that are not finite;
                a file that is not whole (``sqcodec.audio.load`` says which); a rate that the model does not have.
        """
        if isinstance(samples, (str, os.PathLike)):
            if sample_rate is not None:
                raise ValueError(f"sample_rate is {sample_rate}: a file says its own; give samples, or the path alone.")
            samples, sample_rate = load(samples)
        array = self._prepared(samples, sample_rate)
        return torch.from_numpy(np.concatenate(list(self.encode_blocks([array], bits=bits, kbps=kbps)), axis=1))

    @torch.inference_mode()
    def decode(
        self,
        tokens: Samples,
        length: int | None = None,
        *,
        lost: Samples | None = None,
        bits: int | None = None,
        kbps: float | None = None,
    ) -> Tensor:
        """Tokens to samples at the model's rate.

        Args:
            tokens: integers [N] or [B, N].
            length: samples to return; None returns all that the tokens carry.
            lost: bool [N] or [B, N], true for a token that did not arrive, whatever stands in its place: it is
                concealed, best by a model trained for it (``config.conceals``).
            bits, kbps: what was given to ``encode``.
        Returns:
            float32 [B, T].
        Raises:
            ValueError: no tokens, a token outside the codebook, a mask that does not fit, a model that does not
                stream and so conceals nothing, or more samples asked for than tokens carry.
        """
        array = self._marked(tokens, lost)
        wanted = self._all_carried(array) if length is None else _check_length(length)
        blocks = list(self.coder.decode_blocks(array, wanted, self.config.pick_bits(bits, kbps)))
        empty = np.zeros((array.shape[0], 0), np.float32)
        return torch.from_numpy(np.concatenate([empty, *blocks], axis=1))

    @torch.inference_mode()
    def encode_batch(
        self,
        items: Sequence[Samples],
        sample_rate: int | None = None,
        *,
        bits: int | None = None,
        kbps: float | None = None,
    ) -> list[Tensor]:
        """Several recordings of any lengths, coded together: for each [T] the int64 tokens [N] of ``encode``."""
        bits = self.config.pick_bits(bits, kbps)
        arrays = [self._prepared(item, sample_rate) for item in items]
        return self.coder.encode_items(_one_channel(arrays, "T"), bits)

    @torch.inference_mode()
    def decode_batch(
        self,
        items: Sequence[Samples],
        lengths: Sequence[int] | None = None,
        *,
        lost: Sequence[Samples] | None = None,
        bits: int | None = None,
        kbps: float | None = None,
    ) -> list[Tensor]:
        """Several recordings' tokens [N], decoded together: for each the float32 samples [T] of ``decode``.

        Args:
            lengths: samples of each to return; None returns all that the tokens carry.
            lost: of each the mask [N], as of ``decode``.
            bits, kbps: what was given to ``encode_batch``, the same for all.
        """
        bits = self.config.pick_bits(bits, kbps)
        if lost is not None and len(lost) != len(items):
            raise ValueError(f"There are {len(lost)} masks of lost tokens for {len(items)} items.")
        masks: Sequence[Samples | None] = [None] * len(items) if lost is None else lost
        arrays = _one_channel([self._marked(item, mask) for item, mask in zip(items, masks, strict=True)], "N")
        if lengths is None:
            wanted = [self._all_carried(array) for array in arrays]
        else:
            wanted = [_check_length(length) for length in lengths]
            if len(wanted) != len(items):
                raise ValueError(f"There are {len(wanted)} lengths for {len(items)} items.")
        return self.coder.decode_items(arrays, wanted, bits)

    @torch.inference_mode()
    def encode_blocks(
        self, blocks: Iterable[np.ndarray], *, bits: int | None = None, kbps: float | None = None
    ) -> Iterator[np.ndarray]:
        """Blocks of samples to blocks of tokens, in bounded memory.

        Args:
            blocks: float32 [B, t] each, of any lengths, at the model's rate.
            bits, kbps: as of ``encode``.
        Yields:
            int64 [B, n].
        """
        checked = (check_samples(block) for block in blocks)
        yield from self.coder.encode_blocks(checked, self.config.pick_bits(bits, kbps))

    @torch.inference_mode()
    def decode_blocks(
        self,
        tokens: np.ndarray | Iterable[np.ndarray],
        length: int,
        *,
        bits: int | None = None,
        kbps: float | None = None,
    ) -> Iterator[np.ndarray]:
        """Tokens to blocks of samples, ``length`` in all, in bounded memory.

        Args:
            tokens: integers [B, N], or pieces [B, n] of any lengths that a frame-rate model decodes as they come.
            length: samples at the model's rate.
            bits, kbps: what was given to ``encode_blocks``.
        Yields:
            float32 [B, t].
        """
        bits = self.config.pick_bits(bits, kbps)
        checked = check_tokens(tokens) if isinstance(tokens, np.ndarray) else (check_tokens(part) for part in tokens)
        yield from self.coder.decode_blocks(checked, _check_length(length), bits)

    def _prepared(self, samples: Samples, sample_rate: int | None) -> np.ndarray:
        """Float32 [B, T] at the model's rate."""
        array = _to_float(samples)
        rate = self.sample_rate if sample_rate is None else check_rate(sample_rate)
        return array if rate == self.sample_rate else resample(array, rate, self.sample_rate)

    def _marked(self, tokens: Samples, lost: Samples | None) -> np.ndarray:
        """Tokens [B, N] with ``LOST`` in the place of those that are."""
        if lost is None:
            return _to_tokens(tokens)
        mask, array = to_numpy(lost), to_numpy(tokens)
        if mask.dtype != bool or mask.shape not in (array.shape, array.shape[-1:]):
            raise ValueError(
                f"lost is {mask.dtype} of shape {list(mask.shape)}: true or false for each of the tokens, "
                f"{list(array.shape)}, is needed."
            )
        if self.coder.decoder is None:
            raise ValueError(f"Model {self.name!r} conceals no lost tokens: it cannot stream. Leave lost out.")
        known = _to_tokens(np.where(mask, np.zeros_like(array), array)).astype(np.int64)
        return np.where(mask, LOST, known)

    def _all_carried(self, tokens: np.ndarray) -> int:
        """Samples of the recording in tokens [B, N]; ValueError where they are too few for one."""
        carried = self.coder.carried(tokens)
        if carried < 1:
            per_frame = self.config.tokens_per_frame
            least = (self.lookahead // (self.hop_length * per_frame) + 1) * per_frame
            raise ValueError(f"{tokens.shape[1]} tokens are too few to decode: {self.name!r} needs {least} or more.")
        return carried


def pick_device(device: str | torch.device) -> torch.device:
    """The device of that name; "auto" is the GPU where PyTorch finds one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def to_numpy(values: Samples) -> np.ndarray:
    """Of a tensor on any device, or of what numpy takes."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _one_channel(arrays: list[np.ndarray], letter: str) -> list[np.ndarray]:
    """The same. Raises ValueError unless each is [1, X]."""
    for array in arrays:
        if array.shape[0] != 1:
            raise ValueError(f"An item has shape {list(array.shape)}: each must be one channel, [{letter}].")
    return arrays


def _to_tokens(tokens: Samples) -> np.ndarray:
    array = to_numpy(tokens)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"Tokens have shape {list(array.shape)}: [N] or [B, N] with at least one is needed.")
    return check_tokens(array)


def _to_float(samples: Samples) -> np.ndarray:
    array = to_numpy(samples)
    if array.dtype == np.int16:
        array = array.astype(np.float32) / 32768.0
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"Samples are {array.dtype}: float in [-1, 1] or int16 is needed.")
    array = np.ascontiguousarray(array[None] if array.ndim == 1 else array, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"Samples have shape {list(array.shape)}: [T] or [B, T] with at least one is needed.")
    if array.shape[0] > array.shape[1]:
        raise ValueError(
            f"Samples have shape {list(array.shape)}, more rows than samples: channels first, please, [C, T]. "
            "sqcodec.audio.load reads files so; of what soundfile.read returns take the transpose, samples.T."
        )
    return check_samples(array)


def check_samples(array: np.ndarray) -> np.ndarray:
    """The same. Raises ValueError for values that are not finite, or far too loud to be samples in [-1, 1]."""
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("Samples contain values that are not finite (NaN or infinity): replace them first.")
    if max(-low, high) > LOUDEST:
        raise ValueError(f"Samples reach {max(-low, high):g}, more than {LOUDEST:g}; full scale is 1: divide first.")
    return array


def check_tokens(array: np.ndarray) -> np.ndarray:
    """The same. Raises ValueError unless they are integers, of a size that a codebook can have."""
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"Tokens are {array.dtype}: integers are needed.")
    if array.size and not LOST < int(array.min()) <= int(array.max()) < -LOST:
        raise ValueError(f"Tokens span {array.min()} to {array.max()}: no codebook is as large.")
    return array


def _check_length(length: object) -> int:
    if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length < 0:
        raise ValueError(f"A length of {length!r}: a whole number of samples, 0 or more, is needed.")
    return int(length)
