"""Small models that write, and what they read: shared by tests."""

import numpy as np
import torch

from recurra.data import build_tokenizer
from recurra.data.examples import ExampleBatch, Input, Padded, TextInput, TextTarget
from recurra.models import Captioner, EncoderDecoder
from recurra.state import named_leaves
from recurra.testing.tolerances import TOLERANCES

ALPHABET = "abcdefgh"
SMALL = {"hidden": 5, "embedding": 4, "dropout": 0.0}


class Pictures(Input):
    """Grey pictures of 12 by 12 points."""

    kind = "picture"
    height, width, channels = 12, 12, 1

    def encode(self, raw):
        return np.asarray(raw, np.float32)[None] / np.float32(255)

    def collate(self, encoded):
        return Padded(torch.from_numpy(np.stack(encoded)), None)

    def as_mapping(self):
        return {"kind": self.kind}


def text_to_text(**settings):
    torch.manual_seed(0)
    tokenizer = build_tokenizer("char", [ALPHABET], valid=["?"], end=True)
    return EncoderDecoder(TextInput(tokenizer), TextTarget(tokenizer), **{**SMALL, **settings}).double().eval()


def captioner(texts, **settings):
    torch.manual_seed(0)
    return Captioner(Pictures(), TextTarget(build_tokenizer("word", texts, end=True)), **{**SMALL, **settings}).eval()


def collate(model, inputs, targets):
    """Put raw inputs and texts side by side."""
    encoded = [model.target.encode(text) for text in targets]
    return ExampleBatch(
        model.input.collate([model.input.encode(raw) for raw in inputs]),
        model.target.collate(encoded),
        torch.arange(len(inputs)),
    )


def train(model, inputs, targets, *, steps, batch, lr=0.01, sampling=0.0):
    """Minimise the loss of examples drawn at random."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / steps)
        chosen = torch.randint(len(inputs), (batch,)).tolist()
        loss = model.loss(collate(model, [inputs[n] for n in chosen], [targets[n] for n in chosen]), sampling=sampling)
        optimizer.zero_grad()
        (loss.nats / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def close(actual, expected):
    """Compare two trees of tensors by the tolerance table."""
    found, wanted = named_leaves(actual), named_leaves(expected)
    assert found.keys() == wanted.keys()
    for name, leaf in wanted.items():
        if leaf.is_floating_point():
            torch.testing.assert_close(found[name], leaf, **TOLERANCES[leaf.dtype])
        else:
            assert torch.equal(found[name], leaf)


def gradients(nats, parameters):
    """Gradients of a number, zero where it does not depend on a parameter."""
    return torch.autograd.grad(nats, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
