"""The loop that people write by hand: a recurrent language model in plain torch, as fast as torch lets it be.

Embedding, one of torch's recurrent layers, a linear layer; truncated back-propagation with the state carried over
windows; fused AdamW; clipping. No recurra in it.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Model(nn.Module):
    def __init__(
        self, cell: str, vocabulary: int, embedding: int, hidden: int, layers: int = 1, tie: bool = False
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layer = LAYERS[cell](embedding, hidden, num_layers=layers)
        self.projection = nn.Linear(hidden, vocabulary)
        if tie:
            self.projection.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state):
        outputs, state = self.layer(self.embedding(tokens), state)
        return self.projection(outputs), state


def detach(state):
    return tuple(leaf.detach() for leaf in state) if isinstance(state, tuple) else state.detach()


def train(model: Model, tokens: Tensor, *, rows: int, window: int, steps: int) -> float:
    """Train for so many steps and return tokens per second."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1, cycle_momentum=False)
    length = (len(tokens) - 1) // rows
    inputs = tokens[: rows * length].view(rows, length).t().contiguous()
    targets = tokens[1 : rows * length + 1].view(rows, length).t().contiguous()
    done, state, total_loss = 0, None, 0.0
    started = time.perf_counter()
    while done < steps:
        for start in range(0, length - window, window):
            logits, state = model(inputs[start : start + window], state)
            state = detach(state)
            loss = cross_entropy(logits.flatten(0, 1), targets[start : start + window].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total_loss += loss.item()
            done += 1
            if done == steps:
                break
        else:
            state = None
    return done * rows * window / (time.perf_counter() - started)
