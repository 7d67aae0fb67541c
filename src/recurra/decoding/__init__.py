"""From a distribution over the next token to text: sampling, generating, stopping.

Nothing here knows a model. The seam is one function, ``step(token (B,), state) -> (logits (B, V), state)``.
"""

from recurra.decoding.generate import Draw, Prefill, Step, generate, make_generators
from recurra.decoding.sampling import Sampler
from recurra.decoding.stopping import StopMatcher, TextStream, stream_texts

__all__ = [
    "Draw",
    "Prefill",
    "Sampler",
    "Step",
    "StopMatcher",
    "TextStream",
    "generate",
    "make_generators",
    "stream_texts",
]
