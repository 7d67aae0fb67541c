"""Models made of the parts below."""

from recurra.models.config import ModelConfig
from recurra.models.generation import generate_text, generate_texts
from recurra.models.language_model import LanguageModel

__all__ = ["LanguageModel", "ModelConfig", "generate_text", "generate_texts"]
