"""Made-up runs, as rows of metrics.jsonl."""

import math


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
