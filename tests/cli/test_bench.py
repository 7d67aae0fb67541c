"""`recurra bench`: what it prints and what it refuses; how fast anything is, is nobody's concern here."""

import json

import pytest

from recurra.benchmarks import machine, timing

TINY = ["--shape", "2,3,8", "--rounds", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    from recurra.engine.llvm import peak

    monkeypatch.setattr(timing, "BLOCK_S", 1e-9)
    monkeypatch.setattr(peak, "BEST_OF", 1)
    monkeypatch.setattr(peak, "SECONDS", 1e-4)


def test_engine_prints_json_alone_on_stdout(cli):
    result = cli("bench", "engine", "--cell", "gru", "--cell", "mingru", *TINY, "--json")
    assert result.status == 0
    value = json.loads(result.out)
    assert set(value) == {"machine", "engine", "geometric_means"}
    assert {"processor", "threads", "torch", "peak_gflops_1_thread", "peak_gflops"} <= set(value["machine"])
    assert [(row["cell"], row["mode"]) for row in value["engine"]] == [
        ("gru", "train"), ("gru", "infer"), ("mingru", "train"), ("mingru", "infer"),
    ]  # fmt: skip
    assert {"recurra", "torch"} <= set(value["engine"][0]["speeds"])
    assert {"recurra", "torch loop"} <= set(value["engine"][2]["speeds"])
    assert len(value["geometric_means"]) == 4
    assert "4/4 mingru infer 2,3,8: recurra " in result.err


def test_engine_prints_aligned_columns_and_means(cli):
    result = cli("bench", "engine", "--cell", "gru", "--mode", "infer", "--shape", "2,4,8", *TINY)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("machine ")
    (heading,) = (line for line in lines if " of peak " in line)
    rows = [line for line in lines if line.lstrip().startswith("gru ")]
    assert len(rows) == 3
    assert {len(line) for line in [heading, *rows]} == {len(heading)}
    assert " mean " in rows[-1]


def test_single_steps_are_in_microseconds(cli):
    result = cli("bench", "engine", "--cell", "gru", "--mode", "step", "--shape", "1,1,8", *TINY[2:])
    assert result.status == 0
    assert "step: µs" in result.out
    assert "torch cell" in result.out


def test_missing_peers_are_said_once(cli, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setattr(machine, "LIBRARIES", ("torch", "a-library-that-nobody-has"))
    result = cli("bench", "engine", "--cell", "gru", "--cell", "lstm", *TINY, "--json")
    assert result.status == 0
    assert result.err.count("without jax: jax is not installed; pip install jax") == 1
    assert "a-library-that-nobody-has" not in json.loads(result.out)["machine"]


def test_a_chart_is_drawn_into_a_new_file_only(cli, tmp_path):
    path = tmp_path / "speed.png"
    call = ["bench", "engine", "--cell", "gru", "--mode", "infer", *TINY, "--chart", path]
    assert cli(*call).status == 0
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")
    again = cli(*call)
    assert again.status == 2
    assert "exists already" in again.line
    assert again.out == ""
    assert path.read_bytes() == before


def test_a_cell_of_the_users_own_is_measured(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "decaying_cell.py").write_text(
        "import torch\n"
        "class Decaying(torch.nn.Module):\n"
        "    def __init__(self, input_size, hidden_size):\n"
        "        super().__init__()\n"
        "        self.rate = torch.nn.Parameter(torch.zeros(hidden_size))\n"
        "    def step(self, x, state):\n"
        "        h = torch.sigmoid(self.rate) * state[0] + x\n"
        "        return h, (h,)\n"
        "    def zero_state(self, batch):\n"
        "        return (self.rate.new_zeros(batch, len(self.rate)),)\n"
    )
    result = cli("bench", "engine", "--cell", "decaying_cell:Decaying", *TINY, "--json")
    assert result.status == 0
    row = json.loads(result.out)["engine"][0]
    assert row["operations"] == 0
    assert row["speeds"]["recurra"]["gflops"] is None
    assert cli("bench", "engine", "--cell", "decaying_cell:Decaying", *TINY).status == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["engin"], "engine"),
        (["engine", "--cell", "lstn"], "did you mean 'lstm'"),
        (["engine", "--cell", "missing_module:Cell"], "missing_module"),
        (["engine", "--shape", "32,64"], "cannot read '32,64' as a shape"),
        (["engine", "--shape", "32,64,many"], "write B,T,H"),
        (["engine", "--shape", "0,64,256"], "'B' must be at least 1"),
        (["engine", "--shape", "1,64,99999999999"], "'H' must be at most"),
        (["engine", "--mode", "steps"], "steps"),
        (["engine", "--mode", "step", "--shape", "1,2,8"], "T = 1"),
        (["engine", "--rounds", "0"], "'rounds' must be at least 1"),
        (["engine", "--threads", "0"], "'threads' must be at least 1"),
        (["engine", "--chart", "speed.svg"], "write speed.png"),
        (["train", "--shape", "1,2,3", "--compile"], "takes no --shape, --compile"),
    ],
    ids=" ".join,
)
def test_wrong_options_are_refused_before_anything_is_measured(cli, arguments, says):
    result = cli("bench", *arguments)
    assert result.status == 2
    assert says in result.line
    assert result.out == ""


@pytest.mark.slow
def test_every_subject_in_one_run(cli):
    value = json.loads(cli("bench", *TINY, "--json").out)
    assert {"machine", "engine", "geometric_means", "train", "generate"} == set(value)
    assert all(row["ratio"] > 0 for row in [*value["train"], *value["generate"]])
    assert all(speed["ratio"] > 0 for row in value["engine"] for speed in row["speeds"].values())
