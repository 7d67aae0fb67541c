"""Series of numbers over time: read from tables, checked, and cut into windows."""

from recurra.data.series.config import Series, SeriesConfig, SeriesFormat
from recurra.data.series.dataset import SeriesData
from recurra.data.series.reading import read_series
from recurra.data.series.times import time_text
from recurra.data.series.windows import SeriesBatch, Windows

__all__ = ["Series", "SeriesBatch", "SeriesConfig", "SeriesData", "SeriesFormat", "Windows", "read_series", "time_text"]
