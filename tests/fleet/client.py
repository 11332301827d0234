"""A client that keeps requesting, to show that nothing was ever away."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

PAUSE = 0.01  # seconds between two rounds


@contextmanager
def asking(requests: Mapping[str, Callable[[], object]], least: int = 1) -> Iterator[None]:
    """Make these requests again and again, one after the other; each is answered each time, and `least` times in all.

    A request that is not answered raises OSError.
    """
    done, failures = threading.Event(), []
    count = dict.fromkeys(requests, 0)

    def ask() -> None:
        while not done.wait(PAUSE):
            for name, request in requests.items():
                try:
                    request()
                    count[name] += 1
                except OSError as error:
                    failures.append(f"{name} after {count[name]} answers: {error}")

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield
    finally:
        done.set()
        client.join()
    assert not failures, failures[:3]
    assert min(count.values()) >= least, count
