"""Installs the stand-in GPU in every Python process whose path leads here."""

import os

if os.environ.get("GDN_STAND_IN"):
    from tests.stand_in import install

    install()
