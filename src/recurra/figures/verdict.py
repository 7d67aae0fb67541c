"""What the curves of a run say, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recurra.figures.series import Row, Series, first_failure, read_series, setbacks, smoothed

__all__ = ["verdict"]

NOTABLE = 0.01
"""Change of a loss, as a share of it or of the way that it came down, below which it counts as none."""
ENOUGH_VALIDATIONS = 3
ENOUGH_ROWS = 8
LAST = 0.2
"""Share of a run that shows where it is going."""


def verdict(rows: Sequence[Row]) -> str:
    """Say whether a run is still learning, overfitting or settled.

    Overfitting: the last validations, two at least, lie above the best while training went on to fall. Still learning:
    the best loss of all is lower than the best before the last fifth. A change below 1 % of the loss, or of the way
    that it came down, counts as none. A run with too few validations is judged by its training loss, smoothed. Where
    training went wrong and back, that is said, too.

    Args:
        rows: of metrics.jsonl: `step`, and where there is one `loss_nats` and `valid_loss_nats`.
    """
    for key, name in (("loss_nats", "training"), ("valid_loss_nats", "validation")):
        if (step := first_failure(rows, key)) is not None:
            return f"diverged: {name} loss is not a number at step {step:,}"
    wrong = setbacks(rows)
    if wrong and wrong[-1]["back_to"] is None:
        return f"diverged at step {wrong[-1]['step']:,}: {wrong[-1]['what']}"
    return _judge(rows) + _recovered(wrong)


def _recovered(wrong: Sequence[Row]) -> str:
    if not wrong:
        return ""
    times = "once" if len(wrong) == 1 else f"{len(wrong)} times"
    return f"; went back {times}, learning rate x {wrong[-1]['lr_factor']:g}"


def _judge(rows: Sequence[Row]) -> str:
    valid = read_series(rows, "valid_loss_nats")
    train = smoothed(read_series(rows, "loss_nats"), share=LAST)
    if len(valid.steps) >= ENOUGH_VALIDATIONS:
        return _worsening(valid, train) or _progress(valid, "validation")
    if len(train.steps) >= ENOUGH_ROWS:
        return _progress(train, "training")
    return "too short to tell"


def _worsening(valid: Series, train: Series) -> str | None:
    best = int(valid.values.argmin())
    after = valid.values[best + 1 :]
    lowest, last = valid.values[best], valid.values[-1]
    # Near zero a large share of the loss is next to nothing, so a change is held against the way down, too.
    notable = NOTABLE * max(lowest, valid.values[: best + 1].max() - lowest)
    if len(after) < 2 or min(np.median(after), last) <= lowest + notable:
        return None
    step = valid.steps[best]
    share = f"{_percent(last / lowest - 1)} " if lowest > 0 else ""
    rise = f"validation loss rose {share}from {lowest:.3f} to {last:.3f}"
    if not len(train.steps):
        return f"getting worse since step {step:,.0f}: {rise}"
    then, now = np.interp(step, *train), train.values[-1]
    if now < then:
        return f"overfitting since step {step:,.0f}: {rise} while training loss fell to {now:.3f}"
    return (
        f"getting worse since step {step:,.0f}: {rise} and training loss did not fall; a lower learning rate may help"
    )


def _progress(series: Series, name: str) -> str:
    """Compare the end of a run with what came before its last fifth."""
    steps, values = series
    start = steps[0] + (1 - LAST) * (steps[-1] - steps[0])
    earlier = max(1, int((steps <= start).sum()))
    before, lowest = values[:earlier].min(), values.min()
    notable = NOTABLE * max(before, values.max() - lowest)
    if before - lowest > notable:
        share = f"{_percent(1 - lowest / before)} " if lowest > 0 else ""  # a density above 1 has nats below 0
        fall = f"fell {share}from {before:.3f} to {lowest:.3f}"
        return f"still learning: {name} loss {fall} after step {steps[earlier - 1]:,.0f} of {steps[-1]:,.0f}"
    settled = int((values <= lowest + notable).argmax())
    return f"settled since step {steps[settled]:,.0f}: {name} loss stays about {values[-1]:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
