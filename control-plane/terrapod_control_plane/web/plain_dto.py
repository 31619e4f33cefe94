"""What both kinds of bodies use of Litestar's data transfer objects."""

from typing import Any

from litestar.dto import AbstractDTO
from litestar.typing import FieldDefinition


class PlainDto(AbstractDTO[Any]):
    """Base of those that decode and encode by themselves; nothing is remembered of a handler."""

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Nothing has to be remembered: a handler knows what it takes and returns."""

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Any:
        """Litestar's own field machinery is not used."""
        return iter(())

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Litestar's own field machinery is not used."""
        return False
