"""``python -m wideresnet`` is the command ``wrn``."""

from wideresnet.cli.main import run

run()
