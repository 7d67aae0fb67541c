"""What a language model writes, to be looked at while it learns."""

from __future__ import annotations

from recurra.models import LanguageModel

__all__ = ["sample_text"]

TEMPERATURE = 0.8
LABELS = 3


def sample_text(model: LanguageModel, *, tokens: int, seed: int, number: int = 0) -> str:
    """Write up to `tokens` tokens; a model of labelled texts writes three short ones, each behind its label.

    Args:
        number: of the sample; the labels take turns.
    """
    labels = list(model.vocabulary.labels)
    if not labels:
        return model.generate(tokens=tokens, seed=seed, temperature=TEMPERATURE)
    chosen = [labels[(LABELS * number + k) % len(labels)] for k in range(min(LABELS, len(labels)))]
    texts = [
        model.generate(tokens=tokens // len(chosen), seed=seed, temperature=TEMPERATURE, condition=label)
        for label in chosen
    ]
    return "; ".join(f"{label}: {text}" for label, text in zip(chosen, texts, strict=True))
