"""Start an application so that every reset and crash leaves a trace in a file.

Works on any board with a file system, no wiring. Save the application as app.py with a
function main(). After three crashes in a row the board stays at the REPL (safe mode).
"""

import json
import os
import sys
import time

import machine

STATE_FILE = "boot_state.json"
CRASH_LOG = "crash.log"
MAX_LOG_BYTES = 8192
MAX_CRASHES = 3
RESTART_DELAY_MS = 3000
CAUSES = ("PWRON_RESET", "HARD_RESET", "WDT_RESET", "DEEPSLEEP_RESET", "SOFT_RESET")


def reset_cause_name():
    """The name of the reset cause; ports define only some of the constants."""
    code = machine.reset_cause()
    for name in CAUSES:
        if getattr(machine, name, None) == code:
            return name
    return "unknown cause {}".format(code)


def load_state():
    state = {"boots": 0, "crashes": 0}
    try:
        with open(STATE_FILE) as f:
            state.update(json.load(f))
    except (OSError, ValueError):
        pass  # first boot, or the file was cut off: start counting again
    return state


def save_state(state):
    with open(STATE_FILE, "w") as f:
        json.dump(state, f)


def log_size():
    try:
        return os.stat(CRASH_LOG)[6]
    except OSError:
        return 0


def append_log(headline, error=None):
    """Write one entry; the old log is kept as a single backup."""
    if log_size() > MAX_LOG_BYTES:
        os.rename(CRASH_LOG, CRASH_LOG + ".old")
    with open(CRASH_LOG, "a") as f:
        f.write("{} (t={} ms)\n".format(headline, time.ticks_ms()))
        if error is not None:
            sys.print_exception(error, f)


def show_log():
    """Print the log; call it from the REPL when in safe mode."""
    try:
        with open(CRASH_LOG) as f:
            for line in f:
                print(line, end="")
    except OSError:
        print("no crashes so far")


def run_application(state):
    """Run app.main(); the return value says whether to restart the board."""
    try:
        import app

        app.main()
    except KeyboardInterrupt:
        print("stopped by the user")
        return False
    except Exception as error:
        sys.print_exception(error)
        state["crashes"] += 1
        append_log("boot {}: crash {}".format(state["boots"], state["crashes"]), error)
        save_state(state)
        return True
    # An application that ends by itself is healthy: forget earlier crashes.
    state["crashes"] = 0
    save_state(state)
    return False


def boot():
    cause = reset_cause_name()
    state = load_state()
    state["boots"] += 1
    save_state(state)
    print("boot {}, {}".format(state["boots"], cause))
    if cause == "WDT_RESET" and not state["crashes"]:
        # No exception was seen, so the program hung, or something called reset().
        append_log("boot {}: watchdog or software reset".format(state["boots"]))

    if state["crashes"] >= MAX_CRASHES:
        print("safe mode after {} crashes; fix app.py, then remove {}".format(
            state["crashes"], STATE_FILE))
        show_log()
        return
    if run_application(state):
        print("restart in {} s, Ctrl-C to stay here".format(RESTART_DELAY_MS // 1000))
        time.sleep_ms(RESTART_DELAY_MS)
        machine.reset()


boot()
