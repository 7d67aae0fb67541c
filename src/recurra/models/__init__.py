"""Models made of the parts below."""

from recurra.models.cached import CacheConfig, CachedLanguageModel
from recurra.models.captioner import Captioner, CaptionerConfig
from recurra.models.classifier import ClassifierConfig, SequenceClassifier
from recurra.models.config import ModelConfig
from recurra.models.controlling import Wishes, make_controls
from recurra.models.decoder import Decoder, DecoderState
from recurra.models.encoder import Encoded, Encoder, EncoderConfig
from recurra.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from recurra.models.forecaster import Forecaster, Observed
from recurra.models.forecaster_config import ForecasterConfig
from recurra.models.forecasts import Forecast
from recurra.models.generation import generate_text, generate_texts
from recurra.models.language_model import LanguageModel
from recurra.models.loss import Loss
from recurra.models.predictions import Alternative, Classified, Tagged, Written
from recurra.models.quantised import QuantisedLanguageModel
from recurra.models.reading import Reader
from recurra.models.searching import Found, search_texts
from recurra.models.tagger import SequenceTagger, TaggerConfig

__all__ = [
    "Alternative",
    "CacheConfig",
    "CachedLanguageModel",
    "Captioner",
    "CaptionerConfig",
    "Classified",
    "ClassifierConfig",
    "Decoder",
    "DecoderState",
    "Encoded",
    "Encoder",
    "EncoderConfig",
    "EncoderDecoder",
    "EncoderDecoderConfig",
    "Forecast",
    "Forecaster",
    "ForecasterConfig",
    "Found",
    "LanguageModel",
    "Loss",
    "ModelConfig",
    "Observed",
    "QuantisedLanguageModel",
    "Reader",
    "SequenceClassifier",
    "SequenceTagger",
    "Tagged",
    "TaggerConfig",
    "Wishes",
    "Written",
    "generate_text",
    "generate_texts",
    "make_controls",
    "search_texts",
]
