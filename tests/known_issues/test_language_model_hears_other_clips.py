"""A clip's logits do not depend on what is packed before it."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers")

from test_lm import K  # noqa: E402, PLC0414 (fixtures)
from test_lm import model as model
from test_lm import tokens as tokens


@torch.no_grad()
def test_packed_clips_are_as_alone(model) -> None:
    first, second = [K + 1, K, 3, 9, 1], [K + 2, K + 3, K, 17, 4, 5, 5]
    alone = model(torch.tensor([second]))
    packed = model(torch.tensor([first + second]), clips=torch.tensor([[8] * 5 + [3] * 7]))
    assert (model(torch.tensor([first + second])).hidden[:, 5:] - alone.hidden).abs().max() > 1e-2  # one clip
    torch.testing.assert_close(packed.hidden[:, 5:], alone.hidden, rtol=0, atol=1e-5)
    torch.testing.assert_close(packed.nats[:, 5:], alone.nats, rtol=0, atol=1e-4)
    # a cut clip that goes on in the next sequence, in one batch with it
    batch = torch.tensor([first + second, second[2:] + first + [K, 2]])
    clips = torch.tensor([[0] * 5 + [1] * 7, [1] * 5 + [0] * 5 + [2] * 2])
    both = model(batch, clips=clips)
    torch.testing.assert_close(both.hidden[:1, 5:], alone.hidden, rtol=0, atol=1e-5)
    torch.testing.assert_close(both.hidden[1:, 5:10], model(torch.tensor([first])).hidden, rtol=0, atol=1e-5)


def test_training_packs_so(tokens) -> None:
    """A batch says which clip each id is of, and the training step hands that to the model."""
    from sqcodec.lm import train as training
    from sqcodec.lm.data import Batches
    from sqcodec.tokens.dataset import TokenDataset

    dataset = TokenDataset(tokens)
    ids, clips = Batches(dataset, torch.arange(20).numpy(), None, 40, 4, seed=0)[0]
    assert ids.shape == clips.shape == (4, 40)
    for row, owners in zip(ids.tolist(), clips.tolist(), strict=True):
        for place in range(1, 40):
            assert (row[place] == K) == (owners[place] != owners[place - 1])
    seen = []

    class Listener(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, ids, clips):
            seen.append(clips)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training._step(Listener(), None, (ids, clips), training.LMRecipe())  # type: ignore[arg-type]
    assert torch.equal(seen[0], clips)
