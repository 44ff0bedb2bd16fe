"""What master and slaves tell each other.

::

    master ──► WINDOW  functions, calls          run these; keep these functions for later calls
           ──► BACK                              give back what you have not begun
           ──► STOP    call id, or first, count  its result is not wanted any more; those of so many
           ──► DRAIN                             as BACK, and let what runs know that it should stop
           ──► LEAVE   True, or nothing          no more calls will come; True: ranks have died, so don't finalize MPI
           ──► STACKS                            tell where you are
           ──► STAY                              as LEAVE, and end with the job: a rank is left that can't leave
           ──► ABOVE   wait, functions, calls    as WINDOW, to be run while that call waits
           ──► ANSWER  number, outcome           of a call that one of yours has submitted
           ──► WITHDRAWN  number, in time        of such a call, whether it was cancelled
           ──► DEADLOCK   wait, why              what that call waits for can't happen
           ──► KEEP                              tell what calls you submit from others: outcomes are kept
           ──► SETTLE                            tell when the callbacks have run of all calls that have an answer
           ──► SHIP    number, value, shared     a broadcast, and whether others of your host need it; slaves send it too
           ──► ATTACH  number, where             a broadcast that another process of your host has
           ──► PASS_ON number, rank, shared      send that broadcast there, as soon as you have it
           ──► FREE    number                    no call needs that broadcast any more
           ──► GONE    rank                      that slave has died: what is on its way there never arrives
    slave  ──► REPORT  outcomes, given back, log records, resources
           ──► HEARD   call id                   it has asked whether it should stop, and knows that it should
           ──► BYE     failures                  nothing will come any more; how many failures its calls did not ask for
           ──► STACKS  text                      the stacks of its threads
           ──► LIMIT   alarm.Limit or None              what begins now may take so long; None: what was told last has ended
           ──► STUCK   attempt, outcome          the call goes on and can't be interrupted; its future ends like this
           ──► SUBMIT  a call                    run this for one of mine
           ──► WITHDRAW  number                  cancel that call
           ──► WAITS   call id, wait, given back the call waits; I can run what descends from it
           ──► GOES_ON   wait, given back        it waits no longer
           ──► STILL   wait, answers seen        nothing but an answer can end this wait
           ──► JOINS   call id, number           the call has ended by giving back the future of that one
           ──► SETTLED answers seen              the callbacks of those calls have run, and what they submit was told before
           ──► HAS     number, where             that broadcast is here; where others of the host find it (None: nowhere)
           ──► LACKS   number                    it can't be found there: send it

A number names a call that a slave has submitted: each slave counts its own. So it does its waits. The master numbers the
broadcasts.

Plain tuples that begin with a number: they pickle three times as fast as anything with names. Every value in them that is
the user's is a payload already: reading a message runs no user code.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from ..ids import CallId
from ..retries import Failure
from ..transport.wire import Payload

WINDOW, BACK, STOP, DRAIN, LEAVE, REPORT, BYE, HEARD, STACKS, LIMIT, STUCK, STAY = range(12)
ABOVE, ANSWER, WITHDRAWN, DEADLOCK, KEEP, SUBMIT, WITHDRAW, WAITS, GOES_ON, STILL, JOINS = range(12, 23)
MANY, SETTLE, SETTLED = 23, 24, 25
SHIP, ATTACH, PASS_ON, FREE, GONE, HAS, LACKS = OF_BROADCASTS = range(40, 47)

Target = str | int | None
"""What to call: the task of that name; the function of that number, sent before; None: the first of the arguments."""

Named = tuple[str, tuple[Hashable, ...]]
"""A resource: the name of its provider, and the provider's arguments."""

Terms = tuple[float | None, bool]
"""Seconds that the call may take (None: any), and whether it runs in a child of the slave."""

Arguments = Payload
"""Of the pair (positional, by name); or of the positional arguments alone, where these are numbers and travel as they are."""

SentCall = tuple[CallId, str, Target, int, int | None, Arguments, Sequence[Payload], Named | None, Terms | None]
"""Call id, task name, target, attempt, number of the setup, arguments, values of futures among them, resource to hold, terms
(None: none)."""

ONE_ARGUMENT, ALL_ARGUMENTS, EACH_PICKLED = range(3)
"""What an item is, of many calls sent as one: its only argument; a tuple of them; the arguments of a call, as a payload."""

SentMany = tuple[CallId, str, Target, int, None, Sequence[Any], tuple[()], None, None, int]
"""As a call, with the items in place of the arguments, and at the end what an item is. Arguments that are not pickled each by
itself are numbers, short texts and None: reading them runs no user code."""

OutcomesOfMany = tuple[CallId, int, int, float, Sequence[Any], dict[int, bytes], dict[int, tuple[Failure, Payload]], bool]
"""Id of the first; how many have ended; 1 if the next runs, as a call of its own from now on; seconds that the former took;
their values, as far as they are numbers, short texts and None; other values by place; how some failed, by place; whether others
like these had better be sent one by one. What has neither ended nor runs was not begun, and goes back."""

Outcome = tuple[CallId, Failure | None, float | None, Payload]
"""Call id, how it failed (None: it returned), seconds it took (None: it did not begin), value or exception. In windows and
reports, many calls and outcomes may travel as columns."""

Holdings = tuple[Sequence[Named], Sequence[tuple[Named, float]]]
"""What the slave holds, the longest unused first; what it has acquired since the last report, and in how many seconds."""

RETURNED, FAILED, CANCELLED, NEVER_RAN = range(4)
"""How a call ended that another one submitted."""

Answer = tuple[int, int, Payload | tuple[int, str, Payload], int | None, int]
"""Number, how it ended, value or exception, rank, attempts. Of a call that never ran: the failed call's number if it is of the
same slave (else 0), its task, and its exception."""

Submission = tuple[
    *tuple[int, CallId, bytes, Payload | None, Payload, Sequence["int | Payload"], Sequence[int], bytes | None],
    *tuple["tuple[bytes, int, bool, str] | None", int],
]
"""Number, the call that submits it, plan, resource, arguments, futures among them (as numbers or values), numbers of what it
comes after, a function (None: a task; empty: it is the first of the arguments), identity, answers seen."""

Joining = tuple[CallId, float | None, int, Answer | None]
"""The call, seconds it took, number of the call by which it ends, how that has ended if it has."""

Record = dict[str, Any]
"""The attributes of a log record."""
