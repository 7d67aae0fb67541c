"""The ways that gradients may travel beside full and truncated back-propagation."""

from recurra.engine.policies.checkpointed import Checkpointed
from recurra.engine.policies.online import Influenced, Online
from recurra.engine.policies.random_window import RandomWindow
from recurra.engine.policies.schedule import Schedule
from recurra.engine.policies.text import parse_policy
from recurra.engine.policies.unbiased import Unbiased

__all__ = ["Checkpointed", "Influenced", "Online", "RandomWindow", "Schedule", "Unbiased", "parse_policy"]
