"""`tunesmith up --open`: signs a browser in to the studio."""

import os
import sys
import webbrowser

from tunesmith.client import Client
from tunesmith.home import Home


def open_studio(home: Home) -> str:
    """An address that signs one browser in, opened where this machine has one to look at."""
    link = Client(home=home).sign_in_link()
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin":
        webbrowser.open(link.url)
    return link.url
