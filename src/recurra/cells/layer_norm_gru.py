"""Gated recurrent unit with layer normalisation."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import layer_norm, linear

from recurra.cells.base import Cell
from recurra.cells.gru import GRUState

__all__ = ["LayerNormGRU"]


class LayerNormGRU(Cell):
    """Gated recurrent unit with layer normalisation, reset after the product.

        (w_r, w_z, w_n) = LN(W x_t; α_W) + b
        (u_r, u_z, u_n) = LN(U h_{t-1}; α_U) + b′
        r_t = σ(w_r + u_r)                                  reset gate
        z_t = σ(w_z + u_z)                                  update gate
        n_t = tanh(w_n + r_t ⊙ u_n)
        h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    with LN(a; α) = α ⊙ (a - mean a) / √(var a + ε) over all 3H features of a row, ε = 1e-5. W, U, b, b′ hold the gates
    in the order r, z, n, as the GRU does. Gains start at 1 and biases at 0.

    Source: Ba, Kiros & Hinton 2016, supplementary material, where the two gates are normalised together and n by
        itself; one normalisation for all three, as haste has it.
    """

    weight_norm_ih_l0: nn.Parameter
    weight_norm_hh_l0: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, gates=3, **options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, U, b, b′ and the gains of the two normalisations."""
        rows = (3 * self.hidden_size,)
        return super().parameter_shapes() | {"weight_norm_ih_l0": rows, "weight_norm_hh_l0": rows}

    def reset_parameters(self) -> None:
        """W and U as torch.nn draws them; gains 1, biases 0."""
        super().reset_parameters()
        for gain in (self.weight_norm_ih_l0, self.weight_norm_hh_l0):
            nn.init.ones_(gain)
        for bias in (self.b, self.b_U):
            if bias is not None:
                nn.init.zeros_(bias)

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """x (B, I), h (B, H) -> h (B, H), next state."""
        (h,), features = state, (3 * self.hidden_size,)
        w_r, w_z, w_n = layer_norm(linear(x, self.W), features, self.weight_norm_ih_l0, self.b).chunk(3, -1)
        u_r, u_z, u_n = layer_norm(linear(h, self.U), features, self.weight_norm_hh_l0, self.b_U).chunk(3, -1)
        r, z = sigmoid(w_r + u_r), sigmoid(w_z + u_z)
        n = tanh(w_n + r * u_n)
        h = (1 - z) * n + z * h
        return h, GRUState(h)

    def zero_state(self, batch: int) -> GRUState:
        """Zeros."""
        return GRUState(self.U.new_zeros(batch, self.hidden_size))
