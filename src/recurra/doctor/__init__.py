"""Is this machine fit to train on? Versions, processor, engine, devices, memory, disk."""

from recurra.doctor.checks import examine
from recurra.doctor.findings import NOTE, OK, WRONG, Finding
from recurra.doctor.known import KNOWN, Known

__all__ = ["KNOWN", "NOTE", "OK", "WRONG", "Finding", "Known", "examine"]
