"""From a distribution over the next token to text: sampling, generating, stopping.

Nothing here knows a model. The seam is one function, ``step(token (B,), state) -> (logits (B, V), state)``.
"""

from recurra.decoding.controls import Control, Controlled, ControlledState
from recurra.decoding.generate import Draw, generate, make_generators
from recurra.decoding.sampling import Sampler
from recurra.decoding.steps import Prefill, Step, read_by_steps
from recurra.decoding.stopping import StopMatcher, TextStream, stream_texts
from recurra.decoding.withheld import Withheld

__all__ = [
    "Control",
    "Controlled",
    "ControlledState",
    "Draw",
    "Prefill",
    "Sampler",
    "Step",
    "StopMatcher",
    "TextStream",
    "Withheld",
    "generate",
    "make_generators",
    "read_by_steps",
    "stream_texts",
]
