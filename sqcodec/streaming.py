"""Live coding: samples in, tokens out as soon as they are known, and back.

    encoder, decoder = StreamEncoder(codec), StreamDecoder(codec)
    for block in microphone:                            # any lengths
        speaker.play(decoder.push(encoder.push(block)))
    speaker.play(decoder.push(encoder.flush()))

However the input is cut, the tokens are those of ``Codec.encode`` and the samples those of ``Codec.decode``, bit for
bit on a CPU with one thread (``sqcodec.nn.steps`` says how). A sample comes out ``Codec.latency`` samples after it went
in at most. Memory and time per second do not grow.

Letters: B channels, T samples, N tokens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sqcodec.codec import Codec, Samples, check_samples, check_tokens, to_numpy
from sqcodec.files import write_atomically
from sqcodec.nn.incremental import LOST, FrameState
from sqcodec.nn.streams import DecoderStream, EncoderStream, StreamState

MOST_LOST = 1_000_000
"""Tokens that one push conceals: hours."""
LONGEST = 2**40
"""Most frames of a state: four centuries."""


class _Stream:
    """What both directions share: the channels, the state as tensors, and the state as a file."""

    kind = ""

    def __init__(self, codec: Codec, num_channels: int, bits: int | None, kbps: float | None) -> None:
        if num_channels < 1:
            raise ValueError(f"num_channels is {num_channels}: 1 or more is needed.")
        if codec.encoder_steps is None:
            raise ValueError(
                f"Model {codec.name!r} cannot stream exactly: it pads to windows, norms over time or hears the whole "
                "signal. Use Codec.encode and Codec.decode, or a frame-rate model such as 'speech-3k'."
            )
        self.codec, self.num_channels = codec, num_channels
        self._stream: EncoderStream | DecoderStream
        self._closed = False
        self._start(codec.config.pick_bits(bits, kbps))

    def _start(self, bits: int | None) -> None:
        """Begin a recording with tokens of ``bits``."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget everything but the bits of a token: the next push starts a recording."""
        self._start(self.bits)
        self._closed = False

    @property
    def bits(self) -> int | None:
        """Of the tokens from here on, for a model with several rates (``Codec.rates``); None for others. May be set
        between any two pushes; ValueError for bits that the model does not have."""
        return self._stream.bits

    @bits.setter
    def bits(self, bits: int) -> None:
        self._change(self.codec.config.pick_bits(bits))

    @property
    def kbps(self) -> float:
        """The rate in kbit/s. Setting it chooses the most ``bits`` that fit."""
        return self.codec.config.kbps(self.bits)

    @kbps.setter
    def kbps(self, kbps: float) -> None:
        self._change(self.codec.config.pick_bits(kbps=kbps))

    def _change(self, bits: int | None) -> None:
        self._stream.bits = bits

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of all that the stream remembers; ``load_state_dict`` goes on from there, in any process."""
        return {name: tensor.detach().clone() for name, tensor in self._state_tensors().items()}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a state of the same model, direction and number of channels; ValueError for another one."""
        own = self._state_tensors()
        fits = tensors.keys() == own.keys() and all(
            tensors[name].dtype == own[name].dtype and (name == "pending" or tensors[name].shape == own[name].shape)
            for name in own
        )
        if not fits or not self._is_possible(tensors):
            raise ValueError(
                f"This is no state of a {self.kind} of model {self.codec.name!r} with {self.num_channels} channels."
            )
        position, total, closed, *bits = (int(number) for number in tensors["numbers"])
        device = own["pending"].device
        copies = [tensors[name].to(device, copy=True) for name in own if name.startswith("layer.")]
        self._stream.state = StreamState(FrameState(position, copies), tensors["pending"].to(device, copy=True), total)
        self._closed = bool(closed)
        self._stream.bits = bits[0] if bits else None

    def _state_tensors(self) -> dict[str, Tensor]:
        state = self._stream.state
        numbers = torch.tensor([state.layers.position, state.total, int(self._closed), *filter(None, [self.bits])])
        layers = {f"layer.{index}": tensor for index, tensor in enumerate(state.layers.tensors)}
        return {"numbers": numbers, "pending": state.pending} | layers

    def _is_possible(self, tensors: dict[str, Tensor]) -> bool:
        """Whether a state with tensors of the right names, shapes and dtypes is one that a stream can have."""
        pending, numbers = tensors["pending"], tensors["numbers"]
        position, total, closed, *bits = (int(number) for number in numbers)
        rates = self.codec.config.rates
        if rates is not None and not rates.lowest <= bits[0] <= rates.highest:
            return False
        if pending.dim() != 2 or len(pending) != self.num_channels or pending.shape[1] >= self._frame_inputs:
            return False
        if not (0 <= position <= LONGEST and closed in (0, 1)):
            return False
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point())
        size = self.codec.config.codes(bits[0] if bits else None)
        return finite and self._counts_fit(position, total, pending, bool(closed), size)

    def _counts_fit(self, position: int, total: int, pending: Tensor, closed: bool, size: int) -> bool:
        """Whether the numbers agree with each other; ``size``: K."""
        raise NotImplementedError

    @property
    def _frame_inputs(self) -> int:
        """Samples or tokens a frame."""
        raise NotImplementedError

    def save_state(self, path: str | Path) -> None:
        """Write the state to a safetensors file, with the model's name and weights hash."""
        about = {"kind": self.kind, "model": self.codec.name, "weights_hash": self.codec.weights_hash}
        write_atomically(Path(path), safetensors.torch.save(self.state_dict(), metadata=about))

    def load_state(self, path: str | Path) -> None:
        """Go on from a file that ``save_state`` wrote; ValueError where it belongs to another model or is damaged."""
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                about = dict(file.metadata() or {})
                own = self._state_tensors()
                fits = set(file.keys()) == set(own) and all(
                    file.get_slice(name).get_shape() == list(own[name].shape) for name in own if name != "pending"
                )
                tensors = {name: file.get_tensor(name) for name in own} if fits else {}
        except safetensors.SafetensorError as error:
            raise ValueError(f"'{path}' is no stream state, or damaged: {error}") from error
        if about.get("kind") != self.kind:
            raise ValueError(f"'{path}' has the kind {about.get('kind')!r}; this stream's is {self.kind!r}.")
        if not self.codec.matches(about.get("weights_hash", "")):
            raise ValueError(
                f"'{path}' is of model {about.get('model')!r} with hash {about.get('weights_hash')!r}; this stream's "
                f"model is {self.codec.name!r} with hash {self.codec.weights_hash!r}."
            )
        self.load_state_dict(tensors)

    def _check(self, values: Tensor, what: str) -> Tensor:
        if self._closed:
            raise ValueError(f"This {self.kind} was flushed: reset() starts a new recording.")
        values = values[None] if values.dim() == 1 else values
        if values.dim() != 2 or values.shape[0] != self.num_channels:
            raise ValueError(f"{what} have shape {list(values.shape)}: [{self.num_channels}, any number] is needed.")
        return values


class StreamEncoder(_Stream):
    """Samples to tokens, piece by piece.

    Args:
        codec: a frame-rate model.
        num_channels: each is coded by itself.
        bits, kbps: of a model with several rates, as of ``Codec.encode``; ``bits`` and ``kbps`` of a stream may be set
            while it runs. Tokens that come out later, those of ``push`` that began before included, have the new bits.
    """

    kind = "encoder"
    _stream: EncoderStream

    def __init__(
        self, codec: Codec, num_channels: int = 1, *, bits: int | None = None, kbps: float | None = None
    ) -> None:
        super().__init__(codec, num_channels, bits, kbps)

    def _start(self, bits: int | None) -> None:
        assert self.codec.encoder_steps is not None
        self._stream = EncoderStream(self.codec.encoder_steps, self.num_channels, bits)

    @property
    def _frame_inputs(self) -> int:
        return self._stream.steps.frame_length

    def _counts_fit(self, position: int, total: int, pending: Tensor, closed: bool, size: int) -> bool:
        inside = position * self._frame_inputs + pending.shape[1]
        return 0 <= total <= inside if closed else total == inside

    @property
    def samples_read(self) -> int:
        """Samples so far, per channel."""
        return self._stream.state.total

    @torch.inference_mode()
    def push(self, samples: Samples) -> Tensor:
        """float [t] or [B, t] at the model's rate, any t, to the tokens int64 [B, n] that are known now, n >= 0.

        Raises:
            ValueError: another number of channels, values that are not finite, or after ``flush``.
        """
        values = samples if isinstance(samples, Tensor) else torch.from_numpy(np.asarray(samples))
        if values.dtype == torch.int16:
            values = values.float() / 32768.0
        if not values.is_floating_point():
            raise ValueError(f"Samples are {values.dtype}: float in [-1, 1] or int16 is needed.")
        values = self._check(values.float(), "Samples")
        check_samples(values.detach().cpu().numpy())
        return self._stream.push(values).cpu()

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """The end: the remaining tokens int64 [B, n], so that the last sample can be decoded."""
        self._check(torch.zeros(self.num_channels, 0), "Samples")
        self._closed = True
        per_frame = self.codec.config.tokens_per_frame
        return self._stream.flush(self.codec.token_count(self.samples_read) // per_frame).cpu()


class StreamDecoder(_Stream):
    """Tokens to samples, piece by piece.

    Args:
        codec: a frame-rate model.
        num_channels: rows of tokens.
        bits, kbps: what the encoder has; set them where its tokens change.
    """

    kind = "decoder"
    _stream: DecoderStream

    def __init__(
        self, codec: Codec, num_channels: int = 1, *, bits: int | None = None, kbps: float | None = None
    ) -> None:
        super().__init__(codec, num_channels, bits, kbps)

    def _start(self, bits: int | None) -> None:
        assert self.codec.decoder_steps is not None
        self._stream = DecoderStream(self.codec.decoder_steps, self.num_channels, self.codec.lookahead, bits)

    def _change(self, bits: int | None) -> None:
        if bits != self.bits and (rest := self._stream.state.pending.shape[1]):
            raise ValueError(
                f"The bits of a token change between frames of {self._frame_inputs} tokens: {rest} of a frame are here."
            )
        super()._change(bits)

    @property
    def _frame_inputs(self) -> int:
        return self._stream.steps.tokens_per_frame

    def _counts_fit(self, position: int, total: int, pending: Tensor, closed: bool, size: int) -> bool:
        known = bool(((pending == LOST) | (pending >= 0) & (pending < size)).all())
        return known and not closed and total == position * self._stream.steps.frame_length

    @property
    def samples_written(self) -> int:
        """Samples of the recording so far, per channel."""
        return max(0, self._stream.state.total - self.codec.lookahead)

    @torch.inference_mode()
    def push(self, tokens: Samples | None, count: int | None = None) -> Tensor:
        """Integers [n] or [B, n], any n, to the samples float32 [B, t] at the model's rate that are known now, t >= 0.

        The last ones may lie beyond the end of the recording: cut at its length, which tokens do not carry.

        Args:
            tokens: None where they did not arrive: ``count`` of them are concealed, as of ``Codec.decode``.
        Raises:
            ValueError: another number of channels, a token outside the codebook, or a count that is none.
        """
        if tokens is None:
            if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 0 <= count <= MOST_LOST:
                raise ValueError(f"push(None, {count!r}): a whole number of lost tokens, 0 to {MOST_LOST}, is needed.")
            return self._stream.push(torch.full((self.num_channels, int(count)), LOST)).cpu()
        if count is not None:
            raise ValueError(f"count is {count!r} and there are tokens: push lost ones apart, push(None, count).")
        values = torch.from_numpy(check_tokens(to_numpy(tokens)).astype(np.int64))
        return self._stream.push(self._check(values, "Tokens")).cpu()
