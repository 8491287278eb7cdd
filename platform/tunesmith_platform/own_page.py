"""Whether a browser's request was made by a page of ours. Pure; knows headers, no framework.

A cookie is sent for pages of any port of the same host too (`SameSite` looks at the host alone), so who sends a request
is asked of `Sec-Fetch-Site` and `Origin`.
"""

from collections.abc import Collection


def is_own_page(site: str, origin: str, hosts: Collection[str]) -> bool:
    """Whether nothing speaks against a page of ours.

    Args:
        site: What the browser says in `Sec-Fetch-Site`; empty where it says nothing.
        origin: What it says in `Origin`.
        hosts: The hosts under which our pages are shown, `name:port`: the request's own, and those that a proxy before
            us may have been asked by.
    """
    return site in ("", "same-origin", "none") and (origin == "" or origin.partition("://")[2] in hosts)
