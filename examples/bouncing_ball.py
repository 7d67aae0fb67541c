"""A ball bounces in a box, and a noisy camera watches: where will it be in 20 frames?

    python examples/bouncing_ball.py
    python examples/bouncing_ball.py --steps 500 --seed 1

Writes `ball-train.csv` and `ball-test.csv` (columns series, time, x, y, and the true x and y), trains a forecaster on
the first, and compares it on the second with constant velocity and with a parabola through the last five points, both
against the true positions and against those observed. The parabola knows gravity; neither knows the walls.

The box has sides of length 1, gravity is 1, and a wall gives back 0.9 of the speed. A frame is taken every 0.02 s, with
Gaussian noise of 0.01 in both directions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import recurra as rc
from recurra.data import SeriesConfig
from recurra.evaluation import backtest

GRAVITY, RESTITUTION, FRAME, NOISE, FINE = 1.0, 0.9, 0.02, 0.01, 20
HORIZON, CONTEXT = 20, 40


def simulate(balls: int, frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return observed and true positions, (balls, frames, 2); 20 steps of the simulation are a frame."""
    random = np.random.default_rng(seed)
    position, velocity = random.uniform(0, 1, (balls, 2)), random.uniform(-1, 1, (balls, 2))
    dt, true = FRAME / FINE, []
    for _ in range(frames):
        true.append(position.copy())
        for _ in range(FINE):
            position = position + velocity * dt - np.array([0, GRAVITY / 2]) * dt**2
            velocity = velocity - np.array([0, GRAVITY]) * dt
            below, above = position < 0, position > 1
            position = np.where(below, -RESTITUTION * position, position)
            position = np.where(above, 1 - RESTITUTION * (position - 1), position)
            velocity = np.where((below & (velocity < 0)) | (above & (velocity > 0)), -RESTITUTION * velocity, velocity)
    positions = np.stack(true, 1)
    return positions + random.normal(0, NOISE, positions.shape), positions


def write(path: Path, balls: int, frames: int, seed: int) -> None:
    observed, true = simulate(balls, frames, seed)
    with path.open("w", encoding="utf-8") as file:
        file.write("series,time,x,y,true_x,true_y\n")
        for ball in range(balls):
            for frame in range(frames):
                numbers = ",".join(f"{value:.5f}" for value in (*observed[ball, frame], *true[ball, frame]))
                file.write(f"ball{ball},{frame * FRAME:.2f},{numbers}\n")


def read(path: Path, valid: int, target: str = "x,y") -> rc.SeriesData:
    config = SeriesConfig(
        source=str(path), series="series", target=target, horizon=HORIZON, context=CONTEXT, valid=valid
    )
    return rc.SeriesData.build(config)


def main() -> None:
    parser = argparse.ArgumentParser(description="Forecast a bouncing ball.")
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a moment of training on few balls, to see that it runs")
    args = parser.parse_args()

    train_balls, test_balls, frames = (4, 2, 120) if args.quick else (400, 100, 200)
    write(Path("ball-train.csv"), train_balls, frames, seed=1)
    write(Path("ball-test.csv"), test_balls, frames, seed=2)
    torch.manual_seed(args.seed)
    data, test = read(Path("ball-train.csv"), HORIZON), read(Path("ball-test.csv"), 0).train
    truth = read(Path("ball-test.csv"), 0, "true_x,true_y").train
    model = rc.Forecaster(data.format, scaling="training", hidden=args.hidden)
    steps = 5 if args.quick else args.steps
    run = rc.Trainer(model, data, steps=steps, batch=128, lr=4e-3, weight_decay=0.0, seed=args.seed).fit()

    stride = 10
    for name, against in (("true", truth), ("observed", test)):
        found = backtest(run.model, test, stride=stride, against=against)
        baselines = {key: found["baselines"][key]["rmse"] for key in ("constant velocity", "parabola")}
        text = ", ".join(f"{key} {value:.4f}" for key, value in baselines.items())
        rmse = found["metrics"]["rmse"]
        print(f"against the {name} positions: RMSE {rmse:.4f} after {steps} steps; {text}")
        print(f"  {rmse / min(baselines.values()):.2f} of the better one")


if __name__ == "__main__":
    main()
