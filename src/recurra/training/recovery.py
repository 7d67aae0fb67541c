"""What is done when training goes wrong: back to the last good moment, and on from there at a lower rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from recurra.checkpoint import Generation, RunDirectory
from recurra.errors import DivergedError, RunError
from recurra.training.run import draw_report

if TYPE_CHECKING:
    from recurra.training.config import OptimizationConfig

__all__ = ["GOOD", "LOWERED", "PASSING", "PROVEN_AFTER", "Moment", "Recovery", "Setback", "Watch", "describe_setback"]

LOWERED = 0.5
"""By what the learning rate is multiplied each time."""
PROVEN_AFTER = 20
"""Losses in a row that make an explosion, and steps after which a moment without one counts as good."""
SPAN = 20
"""Steps of the running mean."""
MARGIN = 3.0
"""Nats above the best mean, or above the first loss, from which a loss may be one of an explosion."""
MOMENTS, FEWEST_STEPS = 50, 100
"""So many good moments are kept in a run, at least so many steps apart; each replaces the one before."""


class Setback(DivergedError):
    """Training went wrong: at `step`, counted from 1, with this loss and gradient norm; nan for what is not known."""

    def __init__(self, what: str, step: int, loss: float = math.nan, norm: float = math.nan) -> None:
        super().__init__(f"training diverged at step {step:,}: {what}")
        self.what, self.step, self.loss, self.norm = what, step, loss, norm


class Watch:
    """Tells an explosion from bad luck.

    With b the lowest running mean of the losses so far, and t the first loss or b, whichever is higher:

        limit = t + max(3, t - b)

    A loss above that is as far above where training began as training has come down since, and at least 3 nats above
    everything it has known: what is right is given less than a twentieth of the probability it once had. Twenty such
    losses in a row are an explosion. Losses above the limit do not move the mean.

    Attributes:
        above: how many losses in a row were above the limit.
    """

    def __init__(self) -> None:
        self.first = self.best = math.inf
        self.mean = 0.0
        self.seen = self.above = 0

    @property
    def limit(self) -> float:
        """The loss above which something may be wrong."""
        if not self.seen:
            return math.inf
        top = max(self.first, self.best)
        return top + max(MARGIN, top - self.best)

    def exploded(self, loss: float) -> bool:
        """Take in the loss of a step, and return whether it makes an explosion."""
        if loss > self.limit:
            self.above += 1
            return self.above >= PROVEN_AFTER
        self.above = 0
        self.seen += 1
        self.mean += (loss - self.mean) / min(self.seen, SPAN)
        if self.seen == 1:
            self.first = self.best = loss
        elif self.seen >= SPAN:
            self.best = min(self.best, self.mean)
        return False

    def as_values(self) -> dict[str, Any]:
        """Return what goes into a checkpoint."""
        return dict(vars(self)) if self.seen else {}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Put back what `as_values` gave."""
        watch = cls()
        vars(watch).update(values)
        return watch


class Moment(NamedTuple):
    """What a checkpoint is to a recovery: one to go back to, and one that is known to be good already."""

    lasting: bool = False
    proven: bool = False


GOOD, PASSING = Moment(lasting=True, proven=True), Moment()


class Recovery:
    """Decides when training has gone wrong, how often it may, and to where it goes back.

    What it decides depends on numbers of the training alone: never on the clock, so that a run that was killed and
    resumed goes back to the same step as one that was not.

    Args:
        retries: how often training may go back; 0 stops at the first loss that is not a number, and never before.
        steps: in the whole run.
    Attributes:
        used: how often it went back.
        factor: of the learning rate.
    """

    def __init__(self, retries: int, steps: int) -> None:
        self.retries = retries
        self.every = max(FEWEST_STEPS, steps // MOMENTS)
        self.used, self.factor = 0, 1.0
        self.watch = Watch()
        self.lasting_step = 0

    def check(self, step: int, loss: float, norm: float) -> None:
        """Look at the loss and the gradient of a step, counted from 1, before its update. Raises: Setback."""
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                raise Setback(f"{name} is {value:g}", step, loss, norm)
        limit = self.watch.limit
        if self.retries and self.watch.exploded(loss):
            what = f"loss exploded: above {limit:.3g} for {PROVEN_AFTER} steps, now {loss:.3g}"
            raise Setback(what, step, loss, norm)

    def moment(self, step: int, *, epoch_ended: bool = False, better: bool = False, first: bool = False) -> Moment:
        """Say what a checkpoint at this step is worth.

        Args:
            epoch_ended: an epoch, with its validation, is done.
            better: that validation is the best so far, and `first` if there was none before.
        """
        proven = step == 0 or (better and not (first and self.watch.above))
        if proven:
            self.watch.above = 0  # it was the text: these weights are better than any before
        apart = step - self.lasting_step
        lasting = not self.watch.above and apart >= (2 * PROVEN_AFTER if epoch_ended else self.every)
        return Moment(bool(self.retries) and (lasting or proven), proven)

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is to be written at this step, to go back to."""
        return self.moment(step).lasting

    def may_go_back(self) -> bool:
        """Whether training may go back once more."""
        return self.used < self.retries

    def is_good(self, values: Mapping[str, Any], setback: Setback) -> bool:
        """Whether a checkpoint with these values is one to go back to.

        The step that makes weights useless shows in the losses after it, so that a checkpoint is good only when enough
        have followed before the first that was wrong, or a validation has found it so.
        """
        kept = values.get("recovery", {})
        began = setback.step - self.watch.above
        return bool(values.get("lasting")) and (kept.get("proven", False) or values["step"] <= began - PROVEN_AFTER)

    def last_good(self, setback: Setback, run: RunDirectory) -> Generation:
        """Return the newest checkpoint that is good; newer ones are removed, and the logs are cut back to it.

        Raises: DivergedError if there is none.
        """
        try:
            return run.read_generation(lambda values: self.is_good(values, setback))[0]
        except RunError as error:
            raise DivergedError(f"{setback}; {error}") from error

    def lower(self) -> None:
        """Count a way back, and lower the rate."""
        self.used += 1
        self.factor *= LOWERED

    def give_up(
        self,
        setback: Setback,
        run: RunDirectory,
        config: OptimizationConfig,
        epoch: int,
        *,
        fresh: bool,
        uses_last: bool,
    ) -> NoReturn:
        """Keep the last good weights, and stop.

        Args:
            fresh: the newest checkpoint was taken after the last step, which made the weights useless.
            uses_last: the weights to use are the last ones.
        Raises: DivergedError that says what to change.
        """
        exploded = self.watch.above > 0
        if fresh and not exploded:
            run.drop_newest_generation()
        if fresh or exploded:
            kept = self.last_good(setback, run) if exploded else run.read_generation()[0]
            if uses_last:
                part = "average." if config.average else "model."
                run.write_model({k.removeprefix(part): t for k, t in kept.tensors.items() if k.startswith(part)})
        run.append_metrics({"step": setback.step, "epoch": epoch, "setback": self.row(setback, None)})
        draw_report(run)
        raise DivergedError(self.last_words(setback, run.path, config)) from setback

    def last_words(self, setback: Setback, run: Path, config: OptimizationConfig) -> str:
        """Say that training stopped, and what to change."""
        tried = (
            f" at a learning rate that was lowered {self.used} times, to {self.factor:g} of it," if self.used else ""
        )
        return (
            f"training diverged at step {setback.step} of {run},{tried} and was stopped: {setback.what}; the last good "
            f"weights are kept there. Start again with a lower --lr (it was {config.lr:g}) or a smaller --clip (it was "
            f"{config.clip:g})" + ("; if it is always that step, look at its data" if self.used else "")
        )

    def row(self, setback: Setback, back_to: int | None) -> dict[str, Any]:
        """Return what metrics say of a setback; training goes on from `back_to`, or not at all where that is None."""
        # JSON knows no nan: what is not a number is told in words
        number = {name: v if math.isfinite(v := getattr(setback, name)) else None for name in ("loss", "norm")}
        return {
            "what": setback.what,
            "step": setback.step,
            "loss_nats": number["loss"],
            "grad_norm": number["norm"],
            "back_to": back_to,
            "retry": self.used,
            "lr_factor": self.factor,
        }

    def as_values(self, moment: Moment, step: int) -> dict[str, Any]:
        """Return what goes into a checkpoint."""
        if moment.lasting:
            self.lasting_step = step
        own = {"used": self.used, "factor": self.factor, "lasting_step": self.lasting_step, "proven": moment.proven}
        return {"lasting": moment.lasting, "recovery": {**own, "watch": self.watch.as_values()}}

    def restore(self, values: Mapping[str, Any], *, going_back: bool = False) -> None:
        """Put back what `as_values` gave; going back keeps what was learned since: how often, and the lower rate."""
        kept = values.get("recovery", {})
        self.watch = Watch.of(kept.get("watch", {}))
        self.lasting_step = kept.get("lasting_step", 0)
        if not going_back:
            self.used, self.factor = kept.get("used", 0), kept.get("factor", 1.0)


def describe_setback(row: Mapping[str, Any]) -> str:
    """Say in a line what a row of metrics tells in its `setback`."""
    if row["back_to"] is None:
        return f"step {row['step']:,}: {row['what']}; training stopped"
    return f"step {row['step']:,}: {row['what']}; back to step {row['back_to']:,}, learning rate x {row['lr_factor']:g}"
