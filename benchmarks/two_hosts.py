"""Two hosts with addresses of their own on one machine, one of which is cut off and comes back.

Needs root and iproute2 on Linux: it makes two network namespaces, joined by a pair of virtual cards, and removes them.
Prints JSON: what happened when, and whether training ended. ``python benchmarks/two_hosts.py FOLDER``
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 60
PORT = 29471
LIMIT_S = 420


def why_not() -> str | None:
    """Return why network namespaces cannot be made here, or None."""
    if not sys.platform.startswith("linux") or shutil.which("ip") is None:
        return "needs Linux and iproute2"
    name = f"rc{os.getpid()}x"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip() or made.returncode}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


class Hosts:
    """Two namespaces and the wire between them."""

    def __init__(self) -> None:
        tag = os.getpid() % 100000
        self.names = [f"rc{tag}a", f"rc{tag}b"]
        self.addresses = ["10.77.0.1", "10.77.0.2"]

    def __enter__(self) -> Hosts:
        a, b = self.names
        for name in self.names:
            _ip("netns", "add", name)
        _ip("link", "add", f"v{a}", "netns", a, "type", "veth", "peer", "name", f"v{b}", "netns", b)
        for name, address in zip(self.names, self.addresses, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", f"v{name}")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", f"v{name}", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def wire(self, state: str) -> None:
        """Cut the wire ("down"), or mend it ("up")."""
        _ip("-n", self.names[1], "link", "set", f"v{self.names[1]}", state)

    def start(self, number: int, folder: Path) -> subprocess.Popen[bytes]:
        """Start torchrun on a host."""
        name = self.names[number]
        given = f"last_call_timeout=3,join_timeout=60,is_host={int(number == 0)}"
        command = [
            "ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2",
            "--nproc-per-node", "1", "--max-restarts", "20", "--rdzv-backend", "c10d", "--rdzv-id", "two-hosts",
            "--rdzv-endpoint", f"{self.addresses[0]}:{PORT}", "--rdzv-conf", given,
            "--local-addr", self.addresses[number], "--monitor-interval", "0.5",
            "-m", "recurra", "train", "text.txt", "--tokenizer", "char", "--hidden", "16", "--dropout", "0.2",
            "--batch", "8", "--backprop", "16", "--epochs", "150", "--backend", "loop", "--threads", "1",
            "--out", "run",
        ]  # fmt: skip
        more = {"GLOO_SOCKET_IFNAME": f"v{name}", "RECURRA_WAIT_S": "15", "OMP_NUM_THREADS": "1"}
        # The store of the launchers is not told to a host that comes later, in torch 2.13.
        more["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        with (folder / f"host{number}.txt").open("ab") as file:
            return subprocess.Popen(command, cwd=folder, env={**os.environ, **more}, stdout=file, stderr=file)


def main(folder: Path) -> int:
    """Train, cut, mend, and say how it went."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(TEXT)
    started, said = time.monotonic(), []
    hosts = Hosts()
    processes: list[subprocess.Popen[bytes]] = []

    def note(what: str) -> None:
        said.append({"s": round(time.monotonic() - started, 1), "what": what, "step": _step(folder)})
        print(json.dumps(said[-1]), file=sys.stderr, flush=True)

    def until(what: str, condition: object) -> None:
        while not condition():  # type: ignore[operator]
            if time.monotonic() - started > LIMIT_S:
                raise TimeoutError(f"not in {LIMIT_S} s: {what}")
            if processes[0].poll() not in (None, 0):
                raise RuntimeError(f"the first host ended with {processes[0].returncode}: {what}")
            time.sleep(0.3)
        note(what)

    try:
        with hosts:
            try:
                processes += [hosts.start(0, folder), hosts.start(1, folder)]
                until("both train", lambda: _step(folder) >= 5)
                hosts.wire("down")
                note("the second host is cut off")
                begun = _starts(folder)
                until("the first goes on alone", lambda: _starts(folder) > begun)
                step = _step(folder)
                until("and gets further", lambda: _step(folder) > step + 5 or processes[0].poll() == 0)
                hosts.wire("up")
                note("the second host is back")
                begun = _starts(folder)
                if processes[1].poll() is None:
                    processes[1].terminate()
                processes[1].wait(60)
                processes.append(hosts.start(1, folder))
                until("both train again", lambda: _starts(folder) > begun or processes[0].poll() == 0)
                until("the end", lambda: processes[0].poll() == 0)
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    try:
                        process.wait(45)
                    except subprocess.TimeoutExpired:
                        process.kill()
    except (RuntimeError, TimeoutError) as error:
        note(f"failed: {error}")
        return 1
    print(json.dumps({"events": said, "starts": _starts(folder), "steps": _step(folder)}, indent=1))
    return 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _step(folder: Path) -> int:
    file = folder / "run" / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def _starts(folder: Path) -> int:
    texts = [file.read_text(errors="replace") for file in folder.glob("host*.txt")]
    return sum(len(re.findall("training in", text)) for text in texts)


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(reason)
    sys.exit(main(Path(sys.argv[1])))
