"""A text in, a trained language model out, in ten lines.

python examples/ten_lines.py shakespeare.txt
python examples/ten_lines.py                    (the built-in corpus: numbers in words)
"""

from __future__ import annotations

import argparse

import torch

import recurra as rc


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a language model on a text and let it write.")
    parser.add_argument("text", nargs="?", help="a text file; without one, numbers in words")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="a tiny model and a few steps, to see that it runs")
    args = parser.parse_args()

    torch.manual_seed(0)  # the first weights are drawn when the model is made
    corpus = rc.Corpus.from_file(args.text, tokenizer="char") if args.text else rc.Corpus.counting()
    model = rc.LanguageModel(corpus.vocabulary, cell="lstm", hidden=8 if args.quick else args.hidden)
    trainer = rc.Trainer(model, corpus, backprop=rc.Truncated(64), batch=32, epochs=args.epochs)
    run = trainer.fit(steps=5 if args.quick else None)

    score = rc.evaluation.evaluate(run.model, corpus.valid)
    print(f"{run.path}: perplexity {score.perplexity:.2f} on {score.tokens:,} tokens that it was not trained on")
    print(run.model.generate(tokens=200, temperature=0.8))


if __name__ == "__main__":
    main()
