"""A PKCS#11 token in software (SoftHSM) in a folder of its own, empty: each test makes its keys itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PLACES = ("/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu")
MODULE = next((path for place in PLACES if (path := Path(place, "softhsm/libsofthsm2.so")).exists()), None)
needs_softhsm = pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None, reason="needs softhsm2 (apt-get install softhsm2)"
)
SO_PIN = "5678"
LIMIT_S = 60.0


def init_token(folder: Path, label: str, pin: str) -> Path:
    """Make a token; return the configuration that leads to it, for SOFTHSM2_CONF."""
    tokens, conf = folder / "tokens", folder / "softhsm2.conf"
    tokens.mkdir()
    conf.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", pin]
    environment = os.environ | {"SOFTHSM2_CONF": str(conf)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=LIMIT_S)
    return conf
