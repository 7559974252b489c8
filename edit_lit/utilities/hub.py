"""Whether the Hugging Face hub can be reached, asked quickly."""

from __future__ import annotations

from urllib.error import HTTPError
from urllib.request import Request, urlopen

from huggingface_hub import constants, is_offline_mode

SECONDS = 10
"""How long an answer may take."""


def hub_answers() -> bool:
    """Whether the hub answers now; not if ``HF_HUB_OFFLINE`` is set.

    The libraries that load from the hub try for the better part of a minute where there is no network.
    """
    if is_offline_mode():
        return False
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=SECONDS).close()
    except HTTPError:
        return True
    except OSError:
        return False
    return True
