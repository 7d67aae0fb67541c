"""Files of any size to a store of tokens: in little memory, by several processes, going on after an interruption."""

from recurra.data.preparing.config import PrepareConfig
from recurra.data.preparing.steps import Prepared, prepare

__all__ = ["PrepareConfig", "Prepared", "prepare"]
