"""Functions on states: structure, rows, gradients, files, and what they refuse."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recurra import state as states
from recurra.errors import ShapeError, StateError


class Pair(NamedTuple):
    h: Tensor
    c: Tensor


class Other(NamedTuple):
    h: Tensor
    c: Tensor


DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool)


def random_leaf(rows: int, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    bits = torch.randint(0, 100, (rows, *shape), generator=torch.Generator().manual_seed(seed))
    return bits > 50 if dtype is torch.bool else (bits.to(dtype) / 7).to(dtype)


@st.composite
def trees(draw, rows: int, depth: int = 2):
    """A state of `rows` rows: bare tensors, tuples and NamedTuples, nested."""
    kind = draw(st.sampled_from(["leaf", "tuple", "pair"] if depth else ["leaf"]))
    if kind == "leaf":
        shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
        return random_leaf(rows, shape, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 99)))
    if kind == "pair":
        return Pair(draw(trees(rows, depth - 1)), draw(trees(rows, depth - 1)))
    return tuple(draw(trees(rows, depth - 1)) for _ in range(draw(st.integers(0, 3))))


@st.composite
def states_of_rows(draw):
    rows = draw(st.integers(1, 4))
    return rows, draw(trees(rows))


quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def same_bits(a, b) -> bool:
    return states.digest(a) == states.digest(b)


def types(tree):
    return Tensor if isinstance(tree, Tensor) else (type(tree), *map(types, tree))


@quick
@given(states_of_rows())
def test_names_lead_back_to_the_state(drawn):
    _, tree = drawn
    restored = states.from_named(tree, states.named_leaves(tree))
    assert types(restored) == types(tree)
    assert same_bits(restored, tree)


@quick
@given(states_of_rows(), st.data())
def test_select_gathers_rows_with_repetition(drawn, data):
    rows, tree = drawn
    at = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=5))
    chosen = states.select(tree, torch.tensor(at))
    assert types(chosen) == types(tree)
    for name, leaf in states.named_leaves(chosen).items():
        assert leaf.tolist() == [states.named_leaves(tree)[name][row].tolist() for row in at]


@quick
@given(states_of_rows(), st.data())
def test_reset_replaces_the_marked_rows_alone(drawn, data):
    rows, tree = drawn
    mask = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    fresh = states.map_leaves(torch.zeros_like, tree)
    before = states.digest(tree)
    mixed = states.reset(tree, torch.tensor(mask), fresh)
    assert types(mixed) == types(tree)
    assert states.digest(tree) == before
    for name, leaf in states.named_leaves(mixed).items():
        for row, marked in enumerate(mask):
            source = states.named_leaves(fresh if marked else tree)[name]
            assert torch.equal(leaf[row], source[row])


@quick
@given(states_of_rows())
def test_fork_shares_no_memory(drawn):
    _, tree = drawn
    copy = states.fork(tree)
    assert types(copy) == types(tree)
    assert same_bits(copy, tree)
    before = states.digest(tree)
    for leaf in states.named_leaves(copy).values():
        leaf.zero_()
    assert states.digest(tree) == before


@quick
@given(drawn=states_of_rows())
def test_load_gives_back_the_bits_saved(drawn, tmp_path_factory):
    _, tree = drawn
    path = tmp_path_factory.mktemp("states") / "a state.safetensors"
    states.save(tree, path)
    like = states.map_leaves(lambda leaf: leaf[:1], tree)
    restored = states.load(path, like)
    assert types(restored) == types(tree)
    assert same_bits(restored, tree)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_map_leaves_and_names_follow_the_tree():
    tree = (Pair(torch.ones(2), torch.zeros(2)), torch.ones(2, 3))
    assert list(states.named_leaves(tree)) == ["0.h", "0.c", "1"]
    assert list(states.named_leaves(torch.ones(2))) == [""]
    doubled = states.map_leaves(torch.add, tree, tree)
    assert isinstance(doubled[0], Pair)
    assert doubled[1].sum() == 2 * tree[1].sum()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Pair(torch.ones(1), torch.ones(1)), Other(torch.ones(1), torch.ones(1))),
        (Pair(torch.ones(1), torch.ones(1)), (torch.ones(1), torch.ones(1))),
        ((torch.ones(1),), (torch.ones(1), torch.ones(1))),
        ((torch.ones(1),), torch.ones(1)),
        (torch.ones(1), (torch.ones(1),)),
    ],
)
def test_states_of_different_structure_do_not_mix(one, other):
    with pytest.raises(StateError, match="differ in structure"):
        states.map_leaves(torch.add, one, other)


@pytest.mark.parametrize("bad", [[torch.ones(1)], {"h": torch.ones(1)}, 3.0, None, (torch.ones(1), None)])
def test_a_state_holds_tuples_and_tensors_only(bad):
    for function in (states.named_leaves, states.digest, states.detach):
        with pytest.raises(StateError, match="a state is a tree of tuples and tensors"):
            function(bad)


def test_batch_size_is_common_to_all_leaves():
    assert states.batch_size(Pair(torch.ones(3, 2), torch.ones(3))) == 3
    assert states.batch_size(()) is None
    for bad in ((torch.ones(2), torch.ones(3)), torch.ones(())):
        with pytest.raises(StateError, match="share their first axis"):
            states.batch_size(bad)


def test_num_bytes():
    assert states.num_bytes(Pair(torch.ones(2, 3), torch.ones(2, dtype=torch.float64))) == 2 * 3 * 4 + 2 * 8
    assert states.num_bytes(()) == 0


def test_detach_keeps_values_and_cuts_gradients():
    tree = Pair(torch.ones(2, requires_grad=True) * 3, torch.ones(2))
    cut = states.detach(tree)
    assert isinstance(cut, Pair)
    assert same_bits(cut, tree)
    assert not cut.h.requires_grad


def test_gradients_of_reset_and_select():
    old, new = torch.ones(3, 2, requires_grad=True), torch.ones(3, 2, requires_grad=True)
    states.reset(old, torch.tensor([False, True, False]), new).sum().backward()
    assert old.grad.tolist() == [[1, 1], [0, 0], [1, 1]]
    assert new.grad.tolist() == [[0, 0], [1, 1], [0, 0]]
    old.grad = None
    states.select(old, torch.tensor([2, 2])).sum().backward()
    assert old.grad.tolist() == [[0, 0], [0, 0], [2, 2]]


@pytest.mark.parametrize("mask", [torch.tensor([True]), torch.tensor([True, False, True]), torch.tensor(True)])
def test_a_mask_has_one_entry_per_row(mask):
    with pytest.raises(ShapeError, match="mask"):
        states.reset(torch.ones(2, 3), mask, torch.zeros(2, 3))


LIKE = Pair(torch.zeros(1, 2), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("leaves", "message"),
    [
        ({"h": torch.ones(1, 2)}, r"holds \['h'\] where \['c', 'h'\]"),
        ({"h": torch.ones(1, 2), "c": torch.ones(1, 2), "n": torch.ones(1)}, "was expected"),
        ({"h": torch.ones(1, 2), "c": torch.ones(1, 3)}, "leaf 'c'"),
        ({"h": torch.ones(1, 2), "c": torch.ones(1, 2).double()}, "leaf 'c' of the state is torch.float64"),
        ({"h": torch.ones(1, 2), "c": torch.ones(2, 2)}, "share their first axis"),
    ],
)
def test_leaves_that_are_another_state_are_refused(tmp_path, leaves, message):
    with pytest.raises(StateError, match=message):
        states.from_named(LIKE, leaves)
    from safetensors.torch import save_file

    save_file(leaves, tmp_path / "state")
    with pytest.raises(StateError, match=message):
        states.load(tmp_path / "state", LIKE)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(StateError, match=r"cannot read a state from .*missing"):
        states.load(tmp_path / "missing", LIKE)
    whole = tmp_path / "whole"
    states.save(LIKE, whole)
    for name, content in (("empty", b""), ("junk", b"junk" * 9), ("cut", whole.read_bytes()[:-3])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StateError, match=rf"cannot read a state from .*{name}"):
            states.load(tmp_path / name, LIKE)
    with pytest.raises(StateError, match="cannot write a state to"):
        states.save(LIKE, tmp_path / "no folder" / "state")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state"
    states.save(LIKE, path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(StateError, match="No space left on device"):
        states.save(states.map_leaves(torch.ones_like, LIKE), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_a_loaded_state_does_not_change_with_its_file(tmp_path):
    states.save(LIKE, tmp_path / "state")
    loaded = states.load(tmp_path / "state", LIKE)
    (tmp_path / "state").write_bytes(b"")
    assert same_bits(loaded, LIKE)


def test_digest_depends_on_everything():
    leaf = torch.arange(6.0).reshape(2, 3)
    different = [
        leaf,
        leaf.reshape(3, 2),
        leaf.double(),
        leaf + torch.eye(2, 3) * leaf.new_tensor(2.0**-20),
        (leaf,),
        (leaf, leaf),
        Pair(leaf, leaf),
        -0.0 * leaf,
        0.0 * leaf,
    ]
    assert len({states.digest(tree) for tree in different}) == len(different)
    assert states.digest(leaf.t().contiguous().t()) == states.digest(leaf)
