"""Language models on streams of tokens: windows, what is minimised, validation."""

from recurra.training.language.objective import check_policy, objective
from recurra.training.language.samples import sample_text
from recurra.training.language.streams import count_steps, make_stream
from recurra.training.language.task import LanguageTask
from recurra.training.language.validation import validate

__all__ = ["LanguageTask", "check_policy", "count_steps", "make_stream", "objective", "sample_text", "validate"]
