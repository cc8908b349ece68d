"""What a figure was measured on, for the head of a benchmark's table."""

import os
import platform
from pathlib import Path


def processor() -> str:
    """Name the processor as /proc/cpuinfo does, else as Python does."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def machine() -> str:
    """Say the processor, the cores and how busy they are."""
    return f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
