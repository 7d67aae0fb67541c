"""From a distribution over the next token to text: sampling, searching, generating, stopping.

Nothing here knows a model. The seam is one function, ``step(token (B,), state) -> (logits (B, V), state)``.
"""

from recurra.decoding.automaton import Automaton, automaton_of_pattern, avoiding, both
from recurra.decoding.beam import beam_search
from recurra.decoding.constraints import BannedTexts, Constraint, Matching
from recurra.decoding.controls import Control, Controlled, ControlledState
from recurra.decoding.generate import Draw, generate, make_generators
from recurra.decoding.lanes import Beam, Hypothesis
from recurra.decoding.penalties import Banned, Forced, RepetitionPenalty
from recurra.decoding.sampling import Sampler
from recurra.decoding.schemas import pattern_of_schema
from recurra.decoding.steps import Prefill, Step, read_by_steps
from recurra.decoding.stopping import StopMatcher, TextStream, stream_texts

__all__ = [
    "Automaton",
    "Banned",
    "BannedTexts",
    "Beam",
    "Constraint",
    "Control",
    "Controlled",
    "ControlledState",
    "Draw",
    "Forced",
    "Hypothesis",
    "Matching",
    "Prefill",
    "RepetitionPenalty",
    "Sampler",
    "Step",
    "StopMatcher",
    "TextStream",
    "automaton_of_pattern",
    "avoiding",
    "beam_search",
    "both",
    "generate",
    "make_generators",
    "pattern_of_schema",
    "read_by_steps",
    "stream_texts",
]
