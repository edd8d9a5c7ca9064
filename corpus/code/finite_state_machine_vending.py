"""A small finite-state-machine class, shown with a vending machine on the console.

Runs on any board and on the Unix port, no wiring: the script plays the customers.
States are plain strings; a table says which event leads where and what to do on the way.
"""

PRICES = {"water": 100, "coffee": 150, "chocolate": 180}
COINS = (200, 100, 50, 20, 10)


class InvalidEvent(Exception):
    pass


class StateMachine:
    """Transitions map (state, event) to a list of (guard, action, next state)."""

    def __init__(self, start):
        self.state = start
        self.table = {}
        self.on_enter = {}
        self.trace = None

    def add(self, state, event, target, action=None, guard=None):
        self.table.setdefault((state, event), []).append((guard, action, target))

    def enter(self, state, action):
        self.on_enter[state] = action

    def fire(self, event, *args):
        """Take the first transition whose guard agrees; InvalidEvent if there is none."""
        for guard, action, target in self.table.get((self.state, event), ()):
            if guard is not None and not guard(*args):
                continue
            if action is not None:
                action(*args)
            if self.trace is not None:
                self.trace(self.state, event, target)
            changed = target != self.state
            self.state = target
            if changed and target in self.on_enter:
                self.on_enter[target]()
            return target
        raise InvalidEvent("{} in state {}".format(event, self.state))


class VendingMachine:
    def __init__(self, stock):
        self.stock = stock
        self.credit = 0
        self.sold = 0
        fsm = StateMachine("idle")
        fsm.add("idle", "coin", "paying", self.take_coin, self.is_coin)
        fsm.add("paying", "coin", "paying", self.take_coin, self.is_coin)
        # The order counts: the sale is tried first, then the reason why it failed.
        fsm.add("paying", "select", "idle", self.sell, self.can_sell)
        fsm.add("paying", "select", "paying", self.explain)
        fsm.add("paying", "cancel", "idle", self.give_change)
        fsm.add("idle", "open", "service")
        fsm.add("service", "refill", "service", self.refill)
        fsm.add("service", "close", "idle")
        fsm.enter("service", lambda: print("  cash box:", self.sold, "cents"))
        self.fsm = fsm

    def is_coin(self, value):
        return value in COINS

    def take_coin(self, value):
        self.credit += value
        print("  credit", self.credit)

    def can_sell(self, item):
        return self.stock.get(item, 0) > 0 and self.credit >= PRICES[item]

    def sell(self, item):
        self.stock[item] -= 1
        self.credit -= PRICES[item]
        self.sold += PRICES[item]
        print("  here is your", item)
        self.give_change()

    def explain(self, item):
        if item not in PRICES:
            print("  no such product:", item)
        elif not self.stock.get(item, 0):
            print("  sold out:", item)
        else:
            print("  {} more cents, please".format(PRICES[item] - self.credit))

    def give_change(self):
        coins = []
        for coin in COINS:
            count, self.credit = divmod(self.credit, coin)
            coins += [coin] * count
        if coins:
            print("  change:", coins)

    def refill(self, item, count):
        self.stock[item] = self.stock.get(item, 0) + count


SCRIPT = (
    ("coin", 100), ("select", "coffee"), ("coin", 100), ("select", "coffee"),
    ("coin", 3), ("select", "water"),
    ("coin", 200), ("select", "chocolate"), ("cancel",),
    ("open",), ("refill", "chocolate", 5), ("close",),
    ("coin", 200), ("select", "chocolate"),
)


def main():
    machine = VendingMachine({"water": 2, "coffee": 1, "chocolate": 0})
    machine.fsm.trace = lambda old, event, new: print("  [{} -> {}]".format(old, new))
    for event, *args in SCRIPT:
        print(event, *args)
        try:
            machine.fsm.fire(event, *args)
        except InvalidEvent as err:
            print("  ignored:", err)
    print("sold for", machine.sold, "cents, left:", machine.stock)


main()
