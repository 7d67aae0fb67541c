"""How each operation of torch is read: the table that `recurra.engine.lowering` works by."""

from recurra.engine.aten import pointwise, products, shapes
from recurra.engine.aten.rows import HEAVY, check_rows, is_known
from recurra.engine.aten.table import LOWERINGS

__all__ = ["HEAVY", "LOWERINGS", "check_rows", "is_known", "pointwise", "products", "shapes"]
