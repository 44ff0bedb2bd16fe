"""What slave, nanny and child tell each other.

::

    slave ──► nanny  IMPORT  app                     the first, to one that is no fork of this process
                     FORK    number, rank, host      and three descriptors: line, page, stacks
                     STACK   number                  have the child write its stacks
                     KILL    number                  it, and all that came of it
    nanny ──► slave  ENDED   number, status          nothing of it is left
                     BROKEN  number, text            no child can be made
    slave ──► child  CALL    functions, dropped, call
                     HOLD    number, and the secret and sizes of a broadcast, whose descriptor comes with it; or itself
                     DROP    number                  of a broadcast that no call needs any more
                     RELEASE                         what is held
                     LEAVE                           and release what is held before
    child ──► slave  HELD    held, acquired          that has changed
                     LIMIT   alarm.Limit or None     what begins now may take so long; None: any time
                     RECORD  log record
                     DONE    outcome
                     RELEASED
"""

from __future__ import annotations

UNHEARD = 117
"""Exit code of a child that can't reach its slave."""

IMPORT, FORK, STACK, KILL, ENDED, BROKEN, CALL, RELEASE, LEAVE, HELD, RECORD, DONE, RELEASED, LIMIT, HOLD, DROP = range(16)
