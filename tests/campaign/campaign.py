"""Kill training at random moments, resume it, and compare with training that nobody disturbed, bit for bit.

    python tests/campaign/campaign.py [--kills 120] [--seed 0] [--only window,classify] [--json]

Each scenario is trained once undisturbed, in a process of its own. Then again and again: it begins, is killed, is
resumed, is killed while it resumes, and so on, and at last runs to its end. Kills come from outside after a random
time, and from inside at a random file operation, in half a write, at a step, or in a validation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from child import MOMENTS, Plan, live
from scenarios import SCENARIOS, make_trainer

from recurra.checkpoint import RunDirectory
from recurra.training import Reporter

LONGEST_S = 120
MOST_KILLS_IN_A_ROW = 6


class Life:
    """Where one run lives and dies."""

    def __init__(self, scenario: str, folder: Path) -> None:
        self.scenario, self.out, self.logs = scenario, folder / "run", folder / "logs"
        self.logs.mkdir(parents=True)
        self.processes = 0

    @property
    def can_resume(self) -> bool:
        """Whether there is a first checkpoint."""
        return (self.out / "manifest.json").exists() and not RunDirectory(self.out).is_unfinished

    def process(self, plan: Plan, *, every_s: float, after_s: float | None = None) -> bool:
        """Begin or resume it in a process of its own; return whether that was killed.

        Args:
            after_s: kill it from outside after so many seconds.
        Raises: RuntimeError if it fails by itself.
        """
        self.processes += 1
        errors = self.logs / "errors.txt"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(LONGEST_S)
                live(self.scenario, self.out, self.logs, plan, every_s=every_s)
                status = 0
            except BaseException:
                errors.write_text(traceback.format_exc())
            finally:
                os._exit(status)
        status = _wait(child, after_s)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return True
        if status != 0:
            raise RuntimeError(f"{self.scenario}: {errors.read_text() if errors.exists() else f'status {status}'}")
        return False


def _wait(child: int, after_s: float | None) -> int:
    """Return how a process ended; kill it after some time, if asked to."""
    deadline = None if after_s is None else time.monotonic() + after_s
    while deadline is not None:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            break
        time.sleep(0.002)
    return os.waitpid(child, 0)[1]


def bits_of(life: Life) -> dict[str, str]:
    """Return a digest of everything that must agree."""
    generation, notes = RunDirectory(life.out).read_generation()
    if notes:
        raise RuntimeError(f"{life.scenario}: a finished run has damage: {notes}")
    found = {name: _digest(tensor.numpy().tobytes()) for name, tensor in generation.tensors.items()}
    found["values.json"] = _digest(json.dumps(dict(generation.values)).encode())
    for name in ("model.safetensors", "metrics.jsonl", "report/samples.txt", "manifest.json", "config.toml"):
        found[name] = _digest((life.out / name).read_bytes())
    found["said"] = json.dumps(json.loads((life.logs / "done.json").read_text())["said"])
    return found


def reading_of(life: Life) -> tuple[dict[int, tuple[int, list[int]]], list[str]]:
    """Return what each step read, and lines on steps that read something else when they were done again."""
    steps: dict[int, tuple[int, list[int]]] = {}
    problems = []
    for line in (life.logs / "trace.jsonl").read_text().splitlines():
        row = json.loads(line)
        read = (row["epoch"], row["read"])
        if steps.setdefault(row["step"], read) != read:
            problems.append(f"{life.scenario}: step {row['step']} was done again with another batch")
    return steps, problems


def check_reading(life: Life, steps: dict[int, tuple[int, list[int]]], total: int) -> list[str]:
    """Return lines on tokens (or examples) that were not read exactly once in an epoch."""
    if sorted(steps) != list(range(total)):
        return [f"{life.scenario}: steps {sorted(steps)[:3]} ... are not the {total} of the run"]
    epochs: dict[int, Counter[int]] = {}
    for epoch, read in steps.values():
        epochs.setdefault(epoch, Counter()).update(read)
    first = epochs[0]
    problems = []
    # Positions of a corpus run from 1, as nothing predicts its first token; examples from 0.
    expected = set(range(min(first), min(first) + len(first)))
    for epoch, counts in epochs.items():
        if set(counts) != expected or set(counts.values()) != {1} or min(first) not in (0, 1):
            problems.append(f"{life.scenario}: epoch {epoch} lost or repeated tokens")
    return problems


def _modulo(steps: dict[int, tuple[int, list[int]]], size: int) -> dict[int, tuple[int, list[int]]]:
    return {step: (epoch, [position % size for position in read]) for step, (epoch, read) in steps.items()}


class Campaign:
    """Scenarios, kills, and what was found."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self.folder, self.random, self.say = folder, random.Random(seed), say
        self.kills = Counter[str]()
        self.resumes = self.runs = 0
        self.problems: list[str] = []
        self.kinds: list[str] = []
        self.baselines: dict[str, tuple[dict[str, str], dict[str, Any], float]] = {}

    def baseline(self, scenario: str) -> tuple[dict[str, str], dict[str, Any], float]:
        """Train undisturbed."""
        if scenario not in self.baselines:
            life = Life(scenario, self.folder / f"{scenario}-whole")
            started = time.monotonic()
            life.process(Plan(), every_s=0.02)
            taken = time.monotonic() - started
            done = json.loads((life.logs / "done.json").read_text())
            self.problems += self._read_once(life, done["steps"])
            self.baselines[scenario] = bits_of(life), done["counts"], taken
        return self.baselines[scenario]

    def disturb(self, scenario: str, most: int) -> None:
        """Train with kills, up to so many in a row, and compare."""
        bits, counts, taken = self.baseline(scenario)
        self.runs += 1
        life = Life(scenario, self.folder / f"{scenario}-{self.runs}")
        for _ in range(self.random.randint(1, min(most, MOST_KILLS_IN_A_ROW))):
            kind = self._next_kind(counts)
            plan, after_s = Plan(), None
            if kind == "time":
                after_s = self.random.uniform(0, taken)
            else:
                # Small numbers hit the making of the directory, or the resuming itself.
                reach = self.random.choice([min(12, counts[kind]), counts[kind]])
                plan = Plan(kind, self.random.randint(1, reach), self.random.getrandbits(32))
            self.resumes += life.can_resume
            if life.process(plan, every_s=self.random.choice([0.0, 0.02, 0.1]), after_s=after_s):
                self.kills[kind] += 1
            if (life.logs / "done.json").exists():
                break
        self.resumes += life.can_resume
        life.process(Plan(), every_s=0.02)
        self._compare(life, bits)
        shutil.rmtree(life.out.parent)

    def _next_kind(self, counts: dict[str, int]) -> str:
        """Return each kind of moment in turn, in another order every time."""
        if not self.kinds:
            self.kinds = self.random.sample(MOMENTS, len(MOMENTS))
        kind = self.kinds.pop()
        return kind if kind == "time" or counts[kind] else "file"

    def _compare(self, life: Life, bits: dict[str, str]) -> None:
        found = bits_of(life)
        different = [name for name in sorted(found.keys() | bits.keys()) if found.get(name) != bits.get(name)]
        if different:
            self.problems.append(f"{life.scenario}: {', '.join(different)} differ")
        left = [path.name for path in life.out.rglob("*.tmp")]
        if left:
            self.problems.append(f"{life.scenario}: left behind: {', '.join(left)}")
        self.problems += self._read_once(life, json.loads((life.logs / "done.json").read_text())["steps"])

    @staticmethod
    def _read_once(life: Life, total: int) -> list[str]:
        steps, problems = reading_of(life)
        store = life.out / "tokens" / "train" / "index.json"
        if store.exists():
            steps = _modulo(steps, sum(shard["tokens"] for shard in json.loads(store.read_text())["shards"]))
        return problems + check_reading(life, steps, total)

    def report(self, seconds: float) -> dict[str, Any]:
        """Return what happened, for JSON."""
        return {
            "kills": self.kills.total(),
            "kills_by_moment": dict(self.kills),
            "resumes": self.resumes,
            "runs": self.runs,
            "scenarios": len(self.baselines),
            "differences": len(self.problems),
            "problems": self.problems,
            "seconds": round(seconds, 1),
        }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main() -> int:
    """Run the campaign; return 0 if there was no difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=120, help="how many at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of scenarios, with commas between")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    scenarios = options.only.split(",") if options.only else SCENARIOS
    torch.set_num_threads(1)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="recurra-campaign-"))
    os.environ.setdefault("RECURRA_CACHE", str(folder / "compiled"))
    try:
        # What is imported and captured here need not be in every child.
        for scenario in {"window", "classify"} & set(scenarios):
            make_trainer(scenario, folder / f"{scenario}-warm", Reporter()).fit()
        campaign = Campaign(folder, options.seed, lambda line: print(line, file=sys.stderr, flush=True))
        while campaign.kills.total() < options.kills:
            for scenario in scenarios:
                if campaign.kills.total() >= options.kills and len(campaign.baselines) == len(scenarios):
                    break
                before = campaign.kills.total()
                campaign.disturb(scenario, options.kills)
                campaign.say(
                    f"{scenario}: {campaign.kills.total() - before} kills, {len(campaign.problems)} differences"
                )
        report = campaign.report(time.monotonic() - started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(report))
    else:
        for problem in report["problems"]:
            print(problem)
        moments = ", ".join(f"{count} {kind}" for kind, count in sorted(report["kills_by_moment"].items()))
        print(
            f"{report['kills']} kills ({moments}) and {report['resumes']} resumes in {report['runs']} runs of "
            f"{report['scenarios']} scenarios: {report['differences']} differences, {report['seconds']:.0f} s"
        )
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
