"""Bare mpi4py: what a farm is measured against. It shares nothing out, so that uneven calls are not for it."""

from common import CHUNK, Library, NotOffered, array_of, hello, measure, nap, size_of

from mpi4py import MPI

WORLD = MPI.COMM_WORLD
PLAIN, THERE, BACK, END = range(4)
WINDOW = 32


class Bare(Library):
    def submit(self, fn, items):
        if fn is nap:
            raise NotOffered("no farm")
        items = list(items)
        ranks = range(1, WORLD.size)
        return _stream([(fn.__name__, item) for item in items], ranks)

    def map(self, fn, items):
        _stream([(fn.__name__, items[at : at + CHUNK]) for at in range(0, len(items), CHUNK)], range(1, WORLD.size))

    def one(self, fn, item):
        if fn is size_of:
            WORLD.send(item.nbytes, 1, THERE)
            WORLD.Send(item, 1, THERE)
            return WORLD.recv(source=1)
        if fn is array_of:
            WORLD.send(item, 1, BACK)
            into = array_of(item)
            WORLD.Recv(into, 1)
            return into
        WORLD.send(item, 1)
        return WORLD.recv(source=1)


def _stream(messages, ranks):
    """All of them there and back, some under way to each rank at any time."""
    status, answers, at = MPI.Status(), [], 0
    for rank in list(ranks) * WINDOW:
        if at < len(messages):
            WORLD.send(messages[at], rank)
            at += 1
    while len(answers) < len(messages):
        answers.append(WORLD.recv(status=status))
        if at < len(messages):
            WORLD.send(messages[at], status.Get_source())
            at += 1
    return answers


def serve():
    status = MPI.Status()
    while True:
        message = WORLD.recv(source=0, tag=MPI.ANY_TAG, status=status)
        tag = status.Get_tag()
        if tag == END:
            return
        if tag == THERE:
            WORLD.Recv(array_of(message), 0, THERE)
            WORLD.send(message, 0)
        elif tag == BACK:
            WORLD.Send(array_of(message), 0)
        else:
            WORLD.send(hello(message[1]) if isinstance(message, tuple) and message[0] == "hello" else message, 0)


if __name__ == "__main__":
    if WORLD.rank:
        serve()
    else:
        measure(Bare())
        for rank in range(1, WORLD.size):
            WORLD.send(None, rank, END)
