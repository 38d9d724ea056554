"""`python3 -m executor`: what ExecutorInfo.command starts in the container."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from executor import TOKEN_VARIABLE, init


def main(token: str | None) -> int:
    """Run the executor to its end."""
    # Late, so that process 1 stays small and has nothing but its one thread.
    from executor.agent import BuildExecutor, Settings  # noqa: PLC0415
    from executor.environment import BadEnvironmentError  # noqa: PLC0415
    from executor.log import setup_logging  # noqa: PLC0415

    setup_logging()
    executor = BuildExecutor(Settings.from_environment())

    def terminate(*_: object) -> None:
        # Not in the handler itself: it may have interrupted the holder of a lock.
        threading.Thread(target=executor.stop_all, name="SIGTERM", daemon=True).start()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    try:
        return executor.run(token)
    except BadEnvironmentError as error:
        logging.getLogger(__name__).critical("%s", error)
        return 78  # EX_CONFIG
    except Exception:
        logging.getLogger(__name__).exception("the executor failed")
        return init.EX_SOFTWARE
    finally:
        logging.shutdown()


def aftermath(token: str | None, how: str) -> int:
    """Say what an executor that died left unsaid."""
    from executor import aftermath as module  # noqa: PLC0415

    try:
        return module.main(token, how)
    except Exception:
        logging.getLogger(__name__).exception("updates are left unsent")
        return init.EX_SOFTWARE


if __name__ == "__main__":
    # First of all, before any child could inherit it.
    TOKEN = os.environ.pop(TOKEN_VARIABLE, None)
    if os.getpid() == 1:
        sys.exit(init.run(lambda: main(TOKEN), lambda how: aftermath(TOKEN, how)))
    sys.exit(main(TOKEN))
