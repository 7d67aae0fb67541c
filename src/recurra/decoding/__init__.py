"""From a distribution over the next token to text: sampling, searching, generating, stopping.

Nothing here knows a model. The seam is one function, ``step(token (B,), state) -> (logits (B, V), state)``.
"""

from recurra.decoding.beam import beam_search
from recurra.decoding.controls import Control, Controlled, ControlledState
from recurra.decoding.generate import Draw, generate, make_generators
from recurra.decoding.lanes import Beam, Hypothesis
from recurra.decoding.sampling import Sampler
from recurra.decoding.steps import Prefill, Step, read_by_steps
from recurra.decoding.stopping import StopMatcher, TextStream, stream_texts

__all__ = [
    "Beam",
    "Control",
    "Controlled",
    "ControlledState",
    "Draw",
    "Hypothesis",
    "Prefill",
    "Sampler",
    "Step",
    "StopMatcher",
    "TextStream",
    "beam_search",
    "generate",
    "make_generators",
    "read_by_steps",
    "stream_texts",
]
