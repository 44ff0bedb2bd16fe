"""Numbers as people type them on a command line."""

from __future__ import annotations

import argparse


def number_of(what: str, text: str) -> int:
    """A whole number, 1 or more; `what` is counted.

    Raises:
        ArgumentTypeError: It is none; argparse prints the message.
    """
    try:
        number = int(text)
    except ValueError:  # also of "²", which str.isdigit takes for a digit
        number = 0
    if number < 1:
        msg = f"{text!r} is no number of {what}; it must be 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return number
