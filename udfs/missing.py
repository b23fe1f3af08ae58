"""What becomes of events whose model is missing or failed."""

from typing import Literal

import msgspec

from udfs.records import ModelId

Policy = Literal["hold", "dead-letter"] | ModelId
"""Hold them, make dead letters of them, or have another version score them."""


class MissingPolicies(msgspec.Struct, frozen=True):
    """The policy of each model."""

    usual: Literal["hold", "dead-letter"] = "hold"
    """Of every model that has none of its own, and where a fallback is missing too."""
    by_name: dict[str, Policy] = {}

    def of(self, reference: str) -> Policy:
        """The policy for events that name ``iris`` or ``iris:1``."""
        return self.by_name.get(reference.rpartition(":")[0] or reference, self.usual)

    def holds(self, reference: str) -> bool:
        """Whether events are held when neither their model nor a fallback serves."""
        policy = self.of(reference)
        return (self.usual if isinstance(policy, ModelId) else policy) == "hold"
