"""The whole path in a second: import, one step, one window of training, one generated line."""

import torch

import recurra as rc


def test_from_equation_to_generated_line(tmp_path):
    corpus = rc.Corpus.from_text("the quick brown fox jumps over the lazy dog\n" * 20, tokenizer="char")
    model = rc.LanguageModel(corpus.vocabulary, cell="lstm", hidden=16)
    logits, _ = model.step(torch.tensor([3]), model.zero_state(1))
    assert logits.shape == (1, len(corpus.vocabulary))
    run = rc.Trainer(model, corpus, backprop=rc.Truncated(16), batch=4, steps=3, out=tmp_path / "run").fit()
    assert run.metrics[-1]["step"] == 3
    assert len(run.model.generate("the", tokens=5, seed=1)) >= 1
