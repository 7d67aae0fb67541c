"""A language model beside what counting alone achieves on the same tokens."""

from __future__ import annotations

import math
from collections.abc import Callable

from recurra.data import Tokenizer, Tokens
from recurra.evaluation.assessment import Assessment
from recurra.evaluation.ngrams import NgramModel
from recurra.evaluation.perplexity import Score

__all__ = ["ORDERS", "assess_language_model"]

ORDERS = {"char": 6, "byte": 6, "word": 5, "bpe": 5}
"""Of the n-grams, by the kind of tokenizer: longer ones gain next to nothing."""

MOST_COUNTED = 1 << 24
"""Tokens in which n-grams are counted, which takes about a hundred bytes for each."""


def assess_language_model(
    score: Score,
    tokens: Tokens,
    train: Tokens,
    tokenizer: Tokenizer,
    *,
    progress: Callable[..., None] | None = None,
) -> Assessment:
    """Compare what a model scored with the unigram and the interpolated Kneser-Ney n-gram of its training text.

    Args:
        score: of the model on `tokens`, from `recurra.evaluation.evaluate`.
        tokens: what it was measured on; the n-grams predict the same of them: all but the first.
        train: what the model has learned from, and the n-grams are counted in: of a longer text in its first
            `MOST_COUNTED` tokens.
        progress: called with (done, in all, what).
    Raises: CorpusError if there is too little to count.
    """
    vocab, longest, where = len(tokenizer), ORDERS[tokenizer.kind], ""
    if len(train) > MOST_COUNTED:
        train, where = train.head(MOST_COUNTED), f" of the first {MOST_COUNTED:,} tokens"
    baselines = {}
    for name, order in ((f"unigram{where}", 1), (f"Kneser-Ney {longest}-gram{where}", longest)):

        def tell(done: int, total: int, name: str = name) -> None:
            if progress is not None:
                progress(done, total, f"counting for the {name}")

        nats = NgramModel.fit(train, order=order, vocab=vocab, progress=tell).nats(tokens)
        baselines[name] = _numbers(Score(score.tokens, nats, math.nan, 0.0, score.chars))
    return Assessment("lm", _numbers(score), baselines, "perplexity", score.tokens, score.seconds)


def _numbers(score: Score) -> dict[str, float]:
    numbers = {"loss_nats": score.loss_nats, "perplexity": score.perplexity}
    return numbers if score.bits_per_char is None else numbers | {"bits_per_char": score.bits_per_char}
