"""What `ping` found."""

from __future__ import annotations

import re


def unanswered(said: str) -> set[int]:
    """Numbers of the pings without an answer, from all that `ping -n` printed (not `-q`) until it was ended.

    The last one does not count: `ping` does not wait for it when it is interrupted, and at its own end
    no longer than two of the longest round trips so far.
    """
    sent = re.search(r"(\d+) packets transmitted", said)
    assert sent, said
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", said)}
    assert answered, said
    return set(range(1, int(sent[1]))) - answered
