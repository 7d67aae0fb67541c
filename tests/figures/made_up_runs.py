"""Made-up runs, as rows of metrics.jsonl, and what to see in a picture."""

import math

import numpy as np


def rows(train=None, valid=None, *, steps=100, every=10, apart=10):
    """`train` and `valid` are losses over the share of the run that is done; `every` so many rows one is validated."""
    made = []
    for i in range(1, steps + 1):
        row = {"step": i * apart, "epoch": i // every, "lr": 1e-3}
        if train is not None:
            row |= {"loss_nats": train(i / steps), "grad_norm": 0.5 + math.exp(-i / 10)}
        if valid is not None and i % every == 0:
            loss = valid(i / steps)
            row |= {"valid_loss_nats": loss, "valid_perplexity": math.exp(loss), "valid_accuracy": 0.5}
        made.append(row)
    return made


def falling(x):
    return 1.3 + 2.0 * math.exp(-6.0 * x)


def straight(x):
    return 3.0 - 1.5 * x


def valley(x):
    return 1.5 + 4.0 * (x - 0.4) ** 2


def count_colours(picture):
    """How many colours there are in an array of channels from 0 to 1, as a PNG is read."""
    channels = np.rint(picture * 255).astype(np.int64)
    return len(np.unique(channels @ 256 ** np.arange(channels.shape[-1])))
