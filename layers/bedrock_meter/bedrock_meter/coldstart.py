"""No garbage collection while a function starts.

Importing makes tens of thousands of objects and no garbage; the collector walks over all of them again and again, for
about a fifth of the CPU of a start. Importing this module, before anything else, stops it; ``ready`` lets
it go on and never look at what the start has made.
"""

import gc

gc.disable()


def ready() -> None:
    """Call once, at the end of a handler's module: from here on the collector works on what invocations make."""
    gc.freeze()
    gc.enable()
