// The simulated board: its clock, its pins, what hangs on them, and the log of what the program did. All of it lives
// here, outside of the interpreter's memory. A program can only ask for operations by name through `_board`, which is
// what touching the hardware means here; no operation reads, edits or backdates the log.

import { Buses } from "./buses.mjs";

const SHORTEST = 5; // µs that a step of a loop takes …
const LONGEST = 500; // … and at most, where nothing has happened for a while: a 64th of that while
const TIGHT = 1000; // µs between readings that are one and the same event of the log
const LOG_CHARACTERS = 8 << 20; // of all texts in the log
const MAX_PENDING = 16;
const MAX_PINS = 128;

export class Stop {
  /** Thrown through the interpreter to end a program: no `except` of Python's can catch it. */
  constructor(reason) {
    this.reason = reason;
  }
}

const { cpuUsage } = process;

function cpuSeconds() {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
}

const failure = (type, message) => `!${type}:${message}`;

export class Board {
  constructor(setup, limits) {
    this.setup = setup;
    this.limit = limits.virtual_us;
    this.maxEvents = limits.events;
    this.used = cpuSeconds();
    this.cpuSeconds = limits.cpu_seconds;
    this.now = 0;
    this.order = 0;
    this.queue = []; // {t, order, run}, sorted
    this.pending = []; // handlers that are due
    this.serving = false;
    this.enabled = true;
    this.active = 0; // when something happened last
    this.calls = 0;
    this.events = [];
    this.room = LOG_CHARACTERS;
    this.values = [];
    this.asking = false;
    this.pins = new Map();
    this.timers = new Map();
    this.watchdog = null;
    this.buses = new Buses(this, setup);
    for (const [pin, wave] of Object.entries(setup.pins ?? {})) {
      for (const [t, level] of wave) this.at(t, () => this.drive(this.pin(pin), level));
    }
    while (this.queue.length > 0 && this.queue[0].t <= 0) this.queue.shift().run();
  }

  // -- time ------------------------------------------------------------------------------------------------------

  at(t, run) {
    const entry = { t: t >= this.now ? t : this.now, order: this.order++, run }; // NaN too comes at once
    let i = this.queue.length;
    while (i > 0 && this.queue[i - 1].t > t) i -= 1;
    this.queue.splice(i, 0, entry);
    return entry;
  }

  cancel(entry) {
    const i = this.queue.indexOf(entry);
    if (i >= 0) this.queue.splice(i, 1);
  }

  due() {
    return this.enabled && !this.serving && this.pending.length > 0;
  }

  /** Let time pass until `target`, or until an interrupt is due: then true. Never back, and NaN is now. */
  advance(until) {
    const target = until >= this.now ? until : this.now;
    for (;;) {
      if (this.due()) return true;
      const next = this.queue[0];
      if (next === undefined || next.t > target) break;
      this.moveTo(next.t);
      this.queue.shift();
      next.run();
    }
    this.moveTo(target);
    return this.due();
  }

  moveTo(t) {
    if (t > this.limit) {
      this.now = this.limit;
      throw new Stop("time_limit");
    }
    this.now = Math.max(this.now, t);
  }

  /** An operation took `cost` µs; waiting for something goes no further than the next thing that happens. */
  spend(cost) {
    const next = this.queue[0];
    this.advance(next === undefined ? this.now + cost : Math.min(this.now + cost, Math.max(next.t, this.now)));
  }

  poll() {
    this.spend(Math.min(LONGEST, Math.max(SHORTEST, (this.now - this.active) / 64)));
  }

  record(what, fields) {
    for (const value of Object.values(fields)) if (typeof value === "string") this.room -= value.length;
    if (this.events.length >= this.maxEvents || this.room < 0) throw new Stop("event_limit");
    this.events.push({ t: Math.floor(this.now), what, ...fields });
    this.active = this.now;
  }

  /** A reading: the same one again, in a loop without a pause, is counted in the event that is there already. */
  reading(what, fields) {
    const last = this.events.at(-1);
    const same = last?.what === what && Object.entries(fields).every(([name, value]) => last[name] === value);
    if (same && this.now - (last.last ?? last.t) < TIGHT) {
      last.count = (last.count ?? 1) + 1;
      last.last = Math.floor(this.now);
    } else this.record(what, fields);
  }

  interrupt(handler) {
    if (handler === 0 || this.pending.length >= MAX_PENDING) return;
    this.pending.push(handler);
    this.active = this.now;
  }

  // -- pins ------------------------------------------------------------------------------------------------------

  pin(id) {
    const name = String(id).slice(0, 40);
    if (!this.pins.has(name)) {
      if (this.pins.size >= MAX_PINS) throw new Stop("event_limit");
      const blank = { id: /^\d+$/.test(name) ? Number(name) : name, mode: "none", pull: "none", out: 0, seen: null };
      this.pins.set(name, { ...blank, outside: null, handler: 0, trigger: 0, watchers: [] });
    }
    return this.pins.get(name);
  }

  level(pin) {
    if (pin.mode === "out") return pin.out;
    if (pin.mode === "open_drain" && pin.out === 0) return 0;
    return pin.outside ?? (pin.pull === "up" ? 1 : 0);
  }

  /** Change a pin by `change()` and tell those who watch its level. */
  changing(pin, change) {
    const before = this.level(pin);
    change();
    const after = this.level(pin);
    if (before === after) return;
    if (pin.handler !== 0 && pin.trigger & (after ? 1 : 2)) this.interrupt(pin.handler);
    for (const watcher of pin.watchers) watcher(after);
  }

  drive(pin, level) {
    this.changing(pin, () => (pin.outside = level));
  }

  write(pin, value) {
    this.changing(pin, () => (pin.out = value));
    if ((pin.mode === "out" || pin.mode === "open_drain") && pin.seen !== value) {
      pin.seen = value;
      this.record("pin", { pin: pin.id, value });
    }
  }

  // -- what a program may ask for --------------------------------------------------------------------------------

  /** Answer one call; `true` means that an interrupt is to be served first and the call to be repeated. */
  answer([name, ...args]) {
    if ((++this.calls & 255) === 0) this.hurry();
    const operation = typeof name === "string" && Object.hasOwn(OPERATIONS, name) ? OPERATIONS[name] : null;
    if (operation === null) return failure("ValueError", "no such operation");
    if (this.due() && !UNINTERRUPTED.has(name)) return true;
    return operation(this, ...args) ?? null;
  }

  hurry() {
    if (cpuSeconds() - this.used > this.cpuSeconds) throw new Stop("timeout");
  }

  /** Whether interrupts could still come when the program's text has ended. */
  armed() {
    return this.timers.size > 0 || [...this.pins.values()].some((pin) => pin.handler !== 0) || this.buses.armed();
  }
}

const UNINTERRUPTED = new Set(["interrupt", "interrupt_active", "served", "enable", "now", "error", "value", "epoch"]);
const MOST = 65536; // bytes read at once
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : 0);

const OPERATIONS = {
  now: (board) => board.now + 0.5, // a fraction, so that it always crosses as a float
  epoch: (board) => board.setup.epoch ?? 0,
  tick: (board) => board.poll(),
  ticks: (board, unit, wrap) => {
    board.spend(1);
    return Math.floor(board.now / Math.max(1, number(unit))) % Math.max(1, number(wrap));
  },
  until: (board, t) => {
    const before = board.now;
    const interrupted = board.advance(Math.max(number(t), before));
    if (board.now > before) board.active = board.now; // a loop that sleeps is not one that polls
    return interrupted ? true : null;
  },
  interrupt: (board) => {
    if (!board.due()) return 0;
    board.serving = true;
    return board.pending.shift();
  },
  interrupt_active: (board) => (board.serving ? 1 : 0),
  served: (board) => {
    board.serving = false;
  },
  enable: (board, on) => {
    const before = board.enabled;
    board.enabled = Boolean(on);
    return before ? 1 : 0;
  },
  armed: (board) => (board.armed() ? 1 : 0),
  error: (board, text) => board.record("handler_error", { text: String(text).slice(0, 500) }),
  unsupported: (board, text) => board.record("unsupported", { text: String(text).slice(0, 100) }),
  refused: (board, text) => board.record("refused", { text: String(text).slice(0, 100) }),
  value: (board, text, failed) => {
    if (board.asking) board.values.push({ ok: !failed, text: String(text).slice(0, 20000) });
    board.asking = false; // one value for each call
  },
  reset: (board, why) => {
    board.record("reset", { why: String(why).slice(0, 40) });
    throw new Stop("reset");
  },

  pin_mode: (board, id, mode, pull) => {
    const pin = board.pin(id);
    board.changing(pin, () => Object.assign(pin, { mode: String(mode), pull: String(pull), seen: null }));
    board.record("pin_mode", { pin: pin.id, mode: pin.mode, pull: pin.pull });
  },
  pin_preset: (board, id, value) => {
    const pin = board.pin(id);
    if (pin.mode !== "out") pin.out = value ? 1 : 0;
  },
  pin_write: (board, id, value) => {
    board.write(board.pin(id), value ? 1 : 0);
    board.spend(1);
  },
  pin_read: (board, id) => {
    const found = board.level(board.pin(id)); // what it is now; the time that reading takes comes after
    board.spend(1);
    return found;
  },
  pin_irq: (board, id, handler, trigger) => {
    const pin = board.pin(id);
    Object.assign(pin, { handler: number(handler), trigger: number(trigger) });
    board.record("pin_irq", { pin: pin.id, trigger: pin.trigger, on: pin.handler !== 0 });
  },
  pulse: (board, id, level, timeout) => {
    // as time_pulse_us: −2 where it never began, −1 where it never ended; interrupts wait meanwhile
    const pin = board.pin(id);
    const hold = board.serving;
    board.serving = true;
    const wait = (wanted, end) => {
      while (board.level(pin) !== wanted) {
        const next = board.queue[0];
        if (next === undefined || next.t > end) {
          board.advance(end);
          return false;
        }
        board.advance(next.t);
      }
      return true;
    };
    let found = -2;
    if (wait(level, board.now + number(timeout))) {
      const start = board.now;
      found = wait(1 - level, start + number(timeout)) ? Math.floor(board.now - start) : -1;
    }
    board.serving = hold;
    return found;
  },
  pwm: (board, id, freq, duty) => {
    const pin = board.pin(id);
    const setting = `${freq} ${duty}`;
    if (pin.pwm !== setting) board.record("pwm", { pin: pin.id, freq: number(freq), duty: number(duty) });
    pin.pwm = setting;
    board.spend(1);
  },
  timer: (board, id, handler, given, periodic) => {
    const period = number(given);
    const old = board.timers.get(id);
    if (old !== undefined) board.cancel(old.entry);
    board.timers.delete(id);
    if (!handler) return board.record("timer", { timer: id, on: false });
    const timer = { entry: null };
    board.timers.set(id, timer);
    board.record("timer", { timer: id, on: true, period, periodic: Boolean(periodic) });
    const fire = (t) => {
      timer.entry = board.at(t, () => {
        if (!board.pending.includes(handler)) board.interrupt(handler);
        if (periodic) fire(t + Math.max(1, period));
        else board.timers.delete(id);
      });
    };
    fire(board.now + Math.max(1, period));
    return null;
  },
  watchdog: (board, period) => {
    if (board.watchdog) board.cancel(board.watchdog);
    board.watchdog = board.at(board.now + number(period), () => OPERATIONS.reset(board, "watchdog"));
    board.reading("watchdog", { period: number(period) });
  },

  adc: (board, id) => board.buses.adc(id),
  i2c_init: (board, bus, sda, scl, freq) => board.buses.i2cInit(bus, sda, scl, freq),
  i2c_scan: (board, bus) => board.buses.i2cScan(bus),
  i2c: (board, bus, address, hex, count) =>
    number(count) > MOST ? failure("OSError", 5) : board.buses.i2c(bus, address, hex, Math.max(0, number(count))),
  spi_init: (board, bus, sck, mosi, miso, rate, mode) => board.buses.spiInit(bus, sck, mosi, miso, rate, mode),
  spi: (board, bus, hex) => board.buses.spi(bus, hex),
  uart_init: (board, id, rate, tx, rx, handler) => board.buses.uartInit(id, rate, tx, rx, handler),
  uart_any: (board, id) => (board.poll(), board.buses.uart(id).buffer.length),
  uart_read: (board, id, count) => board.buses.uartRead(id, number(count)),
  uart_write: (board, id, hex) => board.buses.uartWrite(id, hex),
  neopixel: (board, pin, hex, width) => {
    board.record("neopixel", { pin: board.pin(pin).id, data: String(hex), width: number(width) });
    board.spend(hex.length * 5);
  },
  dht: (board, pin) => board.buses.dht(pin),
  ds18x20: (board, what, pin, rom) => board.buses.ds18x20(what, pin, rom),
  wlan: (board, what, first, second) => board.buses.wlan(what, first, second),
};
