"""What a processor says of itself, on the systems that say it."""

import platform
from pathlib import Path

import pytest

from recurra.engine.processor import Processor, parse_cpuinfo, processor

AMD = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC 9575F 64-Core Processor
stepping\t: 1

processor\t: 1
vendor_id\t: AuthenticAMD
model name\t: another
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


@pytest.fixture
def _fresh():
    processor.cache_clear()
    yield
    processor.cache_clear()


def test_the_first_processor_is_described():
    assert parse_cpuinfo(AMD) == Processor("AuthenticAMD", 26, 2, "AMD EPYC 9575F 64-Core Processor")


def test_what_is_not_said_is_unknown():
    assert parse_cpuinfo(ARM) == Processor("", None, None, "")
    assert parse_cpuinfo("cpu family : twenty\n").family is None


@pytest.mark.parametrize(
    ("described", "vendor"),
    [("Intel64 Family 6 Model 158 Stepping 10, GenuineIntel", "GenuineIntel"), ("arm", ""), ("", "")],
)
@pytest.mark.usefixtures("_fresh")
def test_without_cpuinfo_the_platform_is_asked(monkeypatch, described, vendor):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(platform, "processor", lambda: described)
    found = processor()
    assert found.vendor == vendor
    assert found.name == (described or platform.machine())


@pytest.mark.usefixtures("_fresh")
def test_this_machine_is_looked_up_once():
    assert processor() is processor()
    assert processor().name
