"""Read hostile files for some minutes of CPU time, others every time.

    python tests/campaign/fuzz.py [--minutes 10] [--json]

Runs tests/hostile again and again with the profile of the campaign, until so much time was spent.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "hostile"


def main() -> int:
    """Run them; return 0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU minutes at least")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rounds = failures = 0
    with tempfile.NamedTemporaryFile() as count:
        environment = {**os.environ, "RECURRA_HYPOTHESIS": "campaign", "RECURRA_HOSTILE_COUNT": count.name}
        while _spent_s() < 60 * options.minutes:
            command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "auto", "--dist", "worksteal", FOLDER]
            result = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
            rounds, failures = rounds + 1, failures + (result.returncode != 0)
        cases = os.path.getsize(count.name)
    report = {
        "cpu_minutes": round(_spent_s() / 60, 1),
        "files": cases,
        "rounds": rounds,
        "rounds_with_failures": failures,
    }
    if options.json:
        print(json.dumps(report))
    else:
        print(
            f"{cases:,} hostile files in {report['cpu_minutes']} CPU minutes, {rounds} rounds: {failures} with failures"
        )
    return 1 if failures else 0


def _spent_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
