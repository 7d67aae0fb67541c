"""Models made of the parts below."""

from recurra.models.generation import generate_text, generate_texts
from recurra.models.language_model import LanguageModel, ModelConfig

__all__ = ["LanguageModel", "ModelConfig", "generate_text", "generate_texts"]
