"""What a model becomes elsewhere: formats that other software reads."""

from recurra.export.formats import FORMATS, Exported, Format, export_run

__all__ = ["FORMATS", "Exported", "Format", "export_run"]
