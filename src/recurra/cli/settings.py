"""The settings of training as options, and how help lists them."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["EXAMPLES_SETTINGS", "SERIES_SETTINGS", "SETTINGS", "Grouped", "with_settings"]

# name, type, help; the settings' own classes validate the values.
SETTINGS: tuple[tuple[str, Any, str], ...] = (
    (
        "cell",
        str,
        "rnn, rnn-relu, irnn, indrnn, jordan, ugrnn; gru, gru-original, gru-layernorm, mgu, mingru; lstm, "
        "lstm-peephole, lstm-coupled, lstm-layernorm, lstm-mogrifier, minlstm, slstm; sru, rglru; or MODULE:CLASS.",
    ),
    ("hidden", int, "Units of each layer."),
    ("layers", int, "Number of layers."),
    ("embedding", int, "Features of a token. [default: as --hidden]"),
    ("dropout", float, "Dropout, locked over time."),
    ("input-dropout", float, "Dropout before the layers alone. [default: as --dropout]"),
    ("embedding-dropout", float, "Dropout of whole embeddings."),
    ("weight-drop", float, "Dropout of recurrent weights."),
    ("zoneout", float, "Probability of keeping a state's entry as it was."),
    ("tie/no-tie", bool, "Share the weights of embedding and output layer."),
    ("residual/no-residual", bool, "Add a layer's input to its output."),
    ("attention-window", int, "Past steps that attention above the layers looks back at; 0 for none."),
    ("init", str, "Initialisation of input weights: uniform, xavier, orthogonal, identity."),
    ("recurrent-init", str, "The same of recurrent weights."),
    ("tokenizer", str, "char, byte, word or bpe."),
    ("vocab", int, "Largest vocabulary, for char, word and bpe."),
    ("condition", str, "Column of labels, by name or number: learn to write what is in a table, given its label."),
    ("balance", float, "Repeat texts of rare labels: 0 not at all, 1 until all labels have equally many."),
    ("partition", str, "sequential: carry the state; random: shuffled windows that start afresh."),
    ("shuffle/no-shuffle", bool, "Draw the windows' order, or the stream's beginning, anew in every epoch."),
    ("order", str, "corpus; or documents, or shards of a prepared store, in another order every epoch."),
    ("batch", int, "Rows read side by side."),
    (
        "backprop",
        str,
        "Tokens per window; or truncated:K1,K2, random:N, unbiased:N, online[:SPAN], full[:SPAN], "
        "checkpointed:MEMORY[:SPAN].",
    ),
    ("predict", str, "every next token of a window, or only the last."),
    ("ar", float, "Activation regularisation."),
    ("tar", float, "Temporal activation regularisation."),
    ("optimizer", str, "adamw, adam, rmsprop or sgd."),
    ("lr", float, "Learning rate at its highest."),
    ("weight-decay", float, "Weight decay; never on biases."),
    ("schedule", str, "constant, cosine, onecycle, plateau or slanted."),
    ("layer-decay", float, "By how much each layer learns slower than the one above it. [default: 1, with --from 2.6]"),
    ("unfreeze", float, "Epochs until the next lower layer learns, too. [default: 0, all at once; with --from 1]"),
    ("clip", float, "Largest norm of the gradient; 0 for none."),
    ("clip-value", float, "Largest entry of the gradient; 0 for none."),
    ("average", float, "Decay of the moving average of weights to keep; 0 for none."),
    ("keep", str, "Which weights to keep: the best by validation, or the last."),
    ("epochs", int, "Passes over the corpus."),
    ("steps", int, "Optimizer steps, in place of --epochs."),
    ("patience", int, "Stop after so many epochs without a better validation loss."),
    ("retries", int, "How often training that goes wrong goes back, and on at half the rate; 0 to stop at once."),
    ("seed", int, "Seed of everything random."),
    ("device", str, "auto, cpu or cuda."),
    ("threads", int, "Threads of the CPU."),
    ("backend", str, "auto, llvm, library or loop: what computes the recurrence."),
)


EXAMPLES_SETTINGS: tuple[tuple[str, Any, str], ...] = (
    ("input", str, "Column to read, also of texts with --condition. [default: by its name, or the first]"),
    ("target", str, "Column to learn or to forecast; of series also several, a,b. [default: by its name, or the last]"),
    ("target-tokenizer", str, "Tokenizer of texts that are written."),
    ("target-vocab", int, "Largest vocabulary of texts that are written."),
    ("lowercase/no-lowercase", bool, "Read texts in lower case."),
    ("rate", int, "Samples per second of sounds; others are resampled."),
    ("mels", int, "Frequency bands of sounds."),
    ("size", int, "Height and width of pictures."),
    ("skip-bad/no-skip-bad", bool, "Leave out rows that cannot be used, and say so, instead of stopping."),
    ("bidirectional/no-bidirectional", bool, "Read forwards and backwards."),
    ("pooling", str, "classify: last, mean, max, attention, or several joined by +."),
    ("word-dropout", float, "Probability of reading a token as the unknown one."),
    ("output-dropout", float, "Dropout before the labels. [default: as --dropout]"),
    ("label-smoothing", float, "Share of a label, or token, that is spread over all."),
    ("mask", float, "Largest share of a sound's time and frequencies that a mask hides in training."),
    ("stride", int, "Frames of a sound that are read as one step."),
    ("centre/no-centre", bool, "Read each sound less its own mean: better for other voices and rooms."),
    ("blocks", int, "Blocks of convolutions over pictures; each halves height and width."),
    ("shift", float, "Largest share of height and width by which pictures are moved in training."),
    ("attention", str, "translate, caption: additive, dot or none."),
    ("decoder-hidden", int, "Units of each layer of the decoder."),
    ("decoder-layers", int, "Number of layers of the decoder."),
    ("summary/no-summary", bool, "Let the decoder see a summary of what was read at every step."),
    ("sampling", float, "Scheduled sampling: share of its own predictions that the decoder reads in the end."),
)

SERIES_SETTINGS: tuple[tuple[str, Any, str], ...] = (
    ("horizon", int, "Steps to forecast. [default: 1]"),
    ("context", int, "Steps read before. [default: nine seasons, or 64]"),
    ("time", str, "Column of dates or rising numbers. [default: by its name]"),
    ("series", str, "Column that names the series, where a file holds several."),
    ("covariates", str, "Columns that are known of the future, too, separated by commas."),
    ("calendar", str, "auto: see the place in the day, week and year; or none."),
    ("season", int, "Steps after which patterns come again; 1 for none. [default: by the times]"),
    ("transform", str, "none, or log: the model sees logarithms."),
    ("gaps", str, "What happens to empty cells and times left out: error, or fill, with straight lines."),
    ("rows", int, "Read only the first rows of each series."),
    ("test", float, "End of each series that training never sees: a share, or a number of rows."),
    ("distribution", str, "gaussian, student or quantiles."),
    ("lags", str, "Steps back that the network sees, such as 1,2,24. [default: auto]"),
    ("scaling", str, "window: measured from the last value; training: by mean and deviation of the training part."),
    ("feed", str, "What stands for values to come: mean, or sample."),
)


def with_settings(function: Any) -> Any:
    """Add an option for each setting."""
    for name, kind, text in reversed(SETTINGS + EXAMPLES_SETTINGS + SERIES_SETTINGS):
        flags = "/".join(f"--{part}" for part in name.split("/"))
        function = click.option(flags, type=kind, default=None, help=text)(function)
    return function


HEADINGS = {
    "Options of classify, tag, translate and caption": EXAMPLES_SETTINGS,
    "Options of forecast": SERIES_SETTINGS,
}


def _heading(name: str) -> str:
    for title, settings in HEADINGS.items():
        if any(setting.split("/")[0].replace("-", "_") == name for setting, _, _ in settings):
            return title
    return "Options"


class Grouped(click.Command):
    """A command whose help lists the options of some tasks under headings of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        groups |= {title: [] for title in HEADINGS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups[_heading(param.name or "")].append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
