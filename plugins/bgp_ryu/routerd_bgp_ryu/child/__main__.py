"""Entry point: patches the standard library for the eventlet hub before anything else is imported.

Under load the native-thread hub of os-ken loses wake-ups, so the eventlet hub is chosen, and it is
chosen here, in a process of its own, where patching harms nobody.
"""

import os
import warnings

if __name__ == "__main__":
    if os.fork() > 0:
        # The parent of a daemon's child must not be the daemon: it would kill it, or leave a zombie.
        os._exit(0)
    os.setsid()

os.environ["EVENTLET_NO_GREENDNS"] = "yes"  # saves 130 ms of imports; neighbours are addresses
os.environ["OSKEN_HUB_TYPE"] = "eventlet"
warnings.simplefilter("ignore")  # eventlet announces its age at each import

import eventlet  # noqa: E402 - patching comes before every other import

eventlet.monkey_patch()

from routerd_bgp_ryu.child.server import main  # noqa: E402 - as above

if __name__ == "__main__":
    main()
