"""What a user wants of a text, as controls of a model's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from recurra.config import check_at_least, from_mapping
from recurra.decoding import Banned, BannedTexts, Constraint, Control, Forced, RepetitionPenalty, pattern_of_schema
from recurra.errors import ConfigError, VocabularyError, nearest

if TYPE_CHECKING:
    from recurra.data import Tokenizer
    from recurra.models.reading import Reader

__all__ = ["Wishes", "make_controls", "sort_settings", "stop_texts"]

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a text must and must not be.

    Args:
        repetition_penalty: θ of `recurra.decoding.RepetitionPenalty`.
        ban: a text, or several, that never come, be it in one token or across several.
        force: what the text begins with.
        regex: what the whole text matches.
        json_schema: what the whole text is valid by, as JSON.
    """

    repetition_penalty: float | None = None
    ban: str | Sequence[str] = ()
    force: str | None = None
    regex: str | None = None
    json_schema: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.regex is not None and self.json_schema is not None:
            raise ConfigError("give a regular expression or a JSON schema, not both")
        if self.force == "":
            raise ConfigError("the text to begin with must not be empty")

    @property
    def is_pattern(self) -> bool:
        """Whether the whole text must match something."""
        return self.regex is not None or self.json_schema is not None


def sort_settings(settings: Mapping[str, Any], kind: type[S]) -> tuple[Wishes, S]:
    """Tell what is wished of a text from how it is found, which another class of settings describes.

    Raises: ConfigError for a name that neither has.
    """
    wished = {field.name for field in fields(Wishes)}
    known = wished | {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            raise ConfigError(f"unknown setting '{name}'{nearest(name, known)}")
    wishes = Wishes(**{name: value for name, value in settings.items() if name in wished})
    return wishes, from_mapping(kind, {name: value for name, value in settings.items() if name not in wished})


def stop_texts(stop: str | Sequence[str], wishes: Wishes) -> list[str]:
    """Return the texts to stop at. Raises: ConfigError where the whole text must match something."""
    stops = [stop] if isinstance(stop, str) else list(stop)
    if stops and wishes.is_pattern:
        raise ConfigError("a text to stop at would cut a match short; leave it out, or the pattern")
    return stops


def make_controls(
    model: Reader, wishes: Wishes, *, tokens: int, controls: Sequence[Control] = ()
) -> tuple[tuple[Control, ...], int | None]:
    """Return the controls that wishes amount to, in the order they are applied, and the token that ends a text.

    Args:
        tokens: how many a text may have at most.
        controls: others, applied before all that must hold.
    Raises: ConfigError for wishes that no text of this vocabulary and length can have.
    """
    check_at_least(1, tokens=tokens)
    vocabulary = model.vocabulary
    ban = [wishes.ban] if isinstance(wishes.ban, str) else list(wishes.ban)
    forced = _forced_ids(model, wishes.force or "", tokens)
    # No text goes on with a label.
    made: list[Control] = [Banned(list(vocabulary.labels.values()))] if vocabulary.labels else []
    if wishes.repetition_penalty is not None:
        made.append(RepetitionPenalty(wishes.repetition_penalty, len(vocabulary)))
    made.extend(controls)
    constraint = _constraint(model, wishes, tokens, ban, forced)
    if ban and constraint is None:
        banned = BannedTexts(ban, _pieces(vocabulary), end=vocabulary.end)
        if not banned.allows(forced):
            raise ConfigError("the forced text holds a banned one, or can only go on to one")
        made.append(banned)
    if forced:
        made.append(Forced(forced))
    return (*made, *([constraint] if constraint else [])), constraint.end if constraint else vocabulary.end


def _constraint(model: Reader, wishes: Wishes, tokens: int, ban: list[str], forced: list[int]) -> Constraint | None:
    pattern = wishes.regex
    if wishes.json_schema is not None:
        pattern = pattern_of_schema(wishes.json_schema)
    if pattern is None:
        return None
    vocabulary = model.vocabulary
    never = [token for token in (vocabulary.unknown, vocabulary.end) if token is not None]
    constraint = Constraint.from_pattern(
        pattern, _pieces(vocabulary), tokens=tokens, never=never, ban=ban, trailing_space=vocabulary.kind == "word"
    )
    constraint.check("the JSON schema" if wishes.regex is None else f"the pattern {wishes.regex!r}", forced)
    return constraint


def _pieces(vocabulary: Tokenizer) -> list[bytes]:
    """Return the bytes of each token."""
    return [vocabulary.decode_bytes([token]) for token in range(len(vocabulary))]


def _forced_ids(model: Reader, text: str, tokens: int) -> list[int]:
    vocabulary = model.vocabulary
    if unseen := vocabulary.unseen(text):
        names = ", ".join(repr(symbol) for symbol, _ in unseen.most_common(5))
        raise VocabularyError(f"the forced text holds what the model has never seen: {names}; leave it out")
    ids: list[int] = vocabulary.encode(text).tolist()
    if len(ids) > tokens:
        raise ConfigError(f"the forced text has {len(ids):,} tokens; allow more than {tokens:,}")
    return ids
