"""Trainings of every kind, small, and processes that do them together."""

import multiprocessing
import os
import signal
import socket
import traceback
from functools import partial

import numpy as np
import torch

from recurra.data import Corpus, Dataset, Examples, SeriesConfig, SeriesData
from recurra.models import Forecaster, LanguageModel
from recurra.processes import ALONE, join
from recurra.training import TASKS, Reporter, Trainer, fit_together

WORDS = ("red", "green", "blue", "dog", "cat", "bird", "runs", "sleeps", "sings")
TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 12
NOISE = {"dropout": 0.3, "embedding_dropout": 0.1, "weight_drop": 0.2, "zoneout": 0.1}

# name: task, settings of the model, settings of training; every kind of noise, and every way to back-propagate
CASES = {
    "plain": ("lm", {}, {"epochs": 1}),
    "noise": ("lm", NOISE, {"epochs": 1, "ar": 0.5, "tar": 0.5}),
    "random": ("lm", {"dropout": 0.2}, {"partition": "random", "epochs": 1, "batch": 7}),
    "last": ("lm", {}, {"predict": "last", "partition": "random", "batch": 9}),
    "windows": ("lm", {"dropout": 0.2, "layers": 2}, {"backprop": "random:13", "epochs": 1}),
    "unbiased": ("lm", {}, {"backprop": "unbiased:9", "epochs": 1}),
    "overlapping": ("lm", {"dropout": 0.2}, {"backprop": "truncated:7,13", "epochs": 1}),
    "online": ("lm", {"cell": "indrnn", "dropout": 0.2}, {"backprop": "online", "epochs": 1}),
    "checkpointed": ("lm", {**NOISE, "zoneout": 0.0}, {"backprop": "checkpointed:100KB:64", "epochs": 1}),
    "clipped": ("lm", {"attention_window": 5}, {"clip": 0.05, "clip_value": 0.02, "average": 0.9, "epochs": 1}),
    "plateau": ("lm", {"layers": 2}, {"schedule": "plateau", "patience": 1, "unfreeze": 0.5, "layer_decay": 2.0}),
    "setback": ("lm", {"cell": "rnn-relu"}, {"optimizer": "sgd", "lr": 30.0, "clip": 0.0, "epochs": 1}),
    "classify": ("classify", {"word_dropout": 0.2, "dropout": 0.3, "pooling": "attention"}, {"average": 0.9}),
    "tag": ("tag", {"bidirectional": True, "weight_drop": 0.2}, {"backprop": "checkpointed:1MB"}),
    "translate": ("translate", {"attention": "dot", "dropout": 0.2, "label_smoothing": 0.1}, {"sampling": 0.6}),
    "caption": ("caption", {"shift": 0.2}, {"sampling": 0.3}),
    "means": ("forecast", {"dropout": 0.2}, {}),
    "samples": ("forecast", {"feed": "sample", "dropout": 0.2}, {"sampling": 0.5}),
}


class Curve(Reporter):
    """Keeps the losses and norms, and may press Ctrl-C after a step."""

    def __init__(self, stop_at=None):
        self.rows, self.at = [], stop_at

    def step(self, step, loss_nats, grad_norm):
        self.rows.append((step, loss_nats, grad_norm))
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def sentences(count):
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, random.integers(2, 7))) for _ in range(count)]


def examples(task, count=45):
    texts = sentences(count)
    random = np.random.default_rng(1)
    if task == "classify":
        return Examples(texts, ["animal" if "dog" in text or "cat" in text else "other" for text in texts])
    if task == "tag":
        words = [text.split() for text in texts]
        return Examples(words, [["colour" if word in WORDS[:3] else "-" for word in each] for each in words])
    if task == "translate":
        return Examples(texts, [" ".join(reversed(text.split())) for text in texts])
    pictures = [random.integers(0, 255, (8, 8), dtype=np.uint8) for _ in range(count)]
    return Examples(pictures, ["bright" if picture.mean() > 127 else "rather dark" for picture in pictures])


def series(folder):
    path = folder / "waves.csv"
    random = np.random.default_rng(0)
    values = 10 + np.sin(np.arange(90) / 2) + random.normal(0, 0.1, 90)
    path.write_text("time,height\n" + "".join(f"{n},{value:.4f}\n" for n, value in enumerate(values)))
    return SeriesData.build(SeriesConfig(source=str(path), horizon=3, context=12, valid=20, test=15))


def trainer(case, out, dtype=torch.float64, *, processes=ALONE, reporter=None, **more):
    """Make the trainer of a case; few rows, that two or four processes cannot share evenly."""
    task, model, settings = CASES[case]
    torch.manual_seed(0)
    if task == "lm":
        data = Corpus.from_text(TEXT, tokenizer="char", name="shells")
        network = LanguageModel(data.vocabulary, **{"cell": "lstm", "hidden": 10, **model})
    elif task == "forecast":
        data = series(out.parent)
        network = Forecaster(data.format, hidden=5, **model)
    else:
        data = Dataset.from_examples(examples(task), task=task, name=task)
        network = TASKS[task].model_class(data.input, data.target, **{"hidden": 8, "embedding": 6, **model})
    common = {"batch": 5, "epochs": 2, "threads": 1, "lr": 0.01, "backend": "loop", "schedule": "constant"}
    settings = {**common, **({"backprop": "13"} if task == "lm" else {}), **settings, **more}
    return Trainer(network.to(dtype), data, out=out, reporter=reporter, processes=processes, **settings)


def train(processes, case, out, dtype=torch.float64, stop_at=None, resume=None, **more):
    """Train a case with all processes; return the curve, the weights and the metrics that the first one has seen."""
    torch.set_default_dtype(dtype)
    curve = Curve(stop_at if processes.first else None)
    try:
        if resume is None:
            start = partial(trainer, case, out, dtype, processes=processes, reporter=curve, **more)
        else:
            start = partial(Trainer.resume, resume, processes=processes, reporter=curve)
        run = fit_together(processes, start, out=out)
        weights = {name: tensor.double() for name, tensor in run.model.state_dict().items()}
        return curve.rows, weights, run.metrics
    except KeyboardInterrupt:
        return curve.rows, None, None
    finally:
        torch.set_default_dtype(torch.float32)


class Team:
    """Processes that have joined, and do what they are asked to, again and again."""

    def __init__(self, size):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            given = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
            given |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
            environment = {name: str(value) for name, value in given.items()}
            process = context.Process(target=_serve, args=(theirs, environment), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def ask(self, function, *args, **options):
        """Return what each process says to `function(processes, ...)`."""
        for pipe in self.pipes:
            pipe.send((function, args, options))
        answers = []
        for pipe in self.pipes:
            assert pipe.poll(240), "a process does not answer"
            answers.append(pipe.recv())
        for kind, answer in answers:
            assert kind == "ok", answer
        return [answer for _, answer in answers]

    def close(self):
        """End them."""
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(20)
            process.kill()


def _serve(pipe, environment):
    os.environ.update(environment)
    torch.set_num_threads(1)
    with join() as processes:
        while (asked := pipe.recv()) is not None:
            function, args, options = asked
            try:
                pipe.send(("ok", function(processes, *args, **options)))
            except Exception:
                pipe.send(("error", traceback.format_exc()))
