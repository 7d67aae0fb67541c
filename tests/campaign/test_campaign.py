"""A short form of the campaign: a few kills; `make campaign` has more than a hundred, and every way to train."""

import json
import os
import subprocess
import sys
from pathlib import Path

FEW = 7


def test_killed_and_resumed_training_gives_the_same_bits(tmp_path):
    script = Path(__file__).with_name("campaign.py")
    command = [sys.executable, script, "--json", "--kills", str(FEW), "--seed", "5", "--only", "window,classify"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["problems"] == []
    assert report["kills"] >= FEW
    assert report["resumes"] >= 2
    assert result.returncode == 0
