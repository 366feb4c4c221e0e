"""``python -m wideresnet`` is the command ``wrn``."""

from wideresnet.cli.main import run

# Worker processes import this module again.
if __name__ == "__main__":
    run()
