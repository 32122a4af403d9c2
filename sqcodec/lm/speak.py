"""From a prompt to speech: samples to tokens, their continuation, and back to samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sqcodec.codec import Codec
from sqcodec.lm.model import SpeechLM


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. ``top_p`` is of each digit."""

    temperature: float = 0.9
    top_p: float = 0.95
    seed: int = 0


@torch.inference_mode()
def continue_speech(
    model: SpeechLM,
    codec: Codec,
    prompt: np.ndarray,
    seconds: float,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
    text: str = "",
) -> np.ndarray:
    """A prompt and what follows, decoded together.

    Args:
        prompt: float32 [T] at the codec's rate; may be empty where there is a text.
        seconds: to add.
        text: read before the prompt, by a model that was trained with texts.
    Returns:
        float32 [T + added], of which the first T are the prompt, coded; shorter where a text came to its end.
    Raises:
        ValueError: the model speaks another codec's tokens, or there is nothing to go on from.
    """
    check_codec(model, codec)
    if text and not model.config.alphabet:
        raise ValueError("The model was trained without texts: leave the text out, or train one with them.")
    if not len(prompt) and not text:
        raise ValueError("There is neither a prompt nor a text to go on from.")
    bits = token_bits(model, codec)
    tokens = torch.zeros(0, dtype=torch.int64)
    if len(prompt):  # the tokens after these heard the silence behind the cut
        tokens = codec.encode(prompt, bits=bits)[0][: max(len(prompt) // codec.hop_length, 1)]
    length = len(prompt) + round(seconds * codec.sample_rate)
    wanted = codec.token_count(length) - len(tokens)
    separator = torch.tensor([model.config.codebook_size])
    ids = torch.cat([model.encode_text(text), separator, tokens])[None].to(model.device)
    added = model.continue_tokens(
        ids, wanted, sampling.temperature, sampling.top_p, sampling.seed, may_end=bool(text)
    )[0].cpu()
    added = added[added < model.config.codebook_size]
    return codec.decode(torch.cat([tokens, added]), bits=bits)[0].numpy()[:length]


def references(
    codec: Codec, samples: np.ndarray, first: int, last: int, seed: int = 0, bits: int | None = None
) -> dict[str, np.ndarray]:
    """What a continuation is to be judged beside: the same stretch of the recording, [first, last) in samples.

    Returns:
        float32 [last - first] each: "real"; "coded", by the codec; "shuffled", coded with its tokens in random order,
        which is what a model knows that has counted tokens and nothing else.
    Raises:
        ValueError: the recording ends before ``last``.
    """
    if len(samples) < last:
        rate = codec.sample_rate
        raise ValueError(f"A recording of {len(samples) / rate:.2f} s has no stretch up to {last / rate:.2f} s.")
    tokens = codec.encode(samples[:last], bits=bits)[0]
    start = first // codec.hop_length
    shuffled = tokens.clone()
    places = start + np.random.default_rng(seed).permutation(len(tokens) - start)
    shuffled[start:] = tokens[torch.from_numpy(places)]
    coded, mixed = (codec.decode(each, last, bits=bits)[0].numpy()[first:] for each in (tokens, shuffled))
    return {"real": samples[first:last], "coded": coded, "shuffled": mixed}


def token_bits(model: SpeechLM, codec: Codec) -> int | None:
    """Bits of the tokens that the model was trained on, where the codec has several rates."""
    return model.config.codebook_size.bit_length() - 1 if codec.rates else None


def check_codec(model: SpeechLM, codec: Codec) -> None:
    """ValueError unless the codec is the one whose tokens the model was trained on."""
    if not codec.matches(model.config.codec_hash):
        raise ValueError(
            f"The language model speaks the tokens of '{model.config.codec}' ({model.config.codec_hash[:12]}), not of "
            f"'{codec.name}' ({codec.weights_hash[:12]}): give that codec with --model."
        )
