// What hangs on the board: analogue inputs, devices on I2C, SPI and UART, sensors, the radio. Scripted by the task.

const bytesOf = (hex) => Uint8Array.from(String(hex).match(/../g) ?? [], (pair) => parseInt(pair, 16));
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const error = (type, message) => `!${type}:${message}`;
const fits = (pin, wanted) => wanted === undefined || wanted === null || wanted === pin;

export class Buses {
  constructor(board, setup) {
    this.board = board;
    this.setup = setup;
    this.i2cBuses = new Map();
    this.spiBuses = new Map();
    this.uarts = new Map();
    this.radio = { active: {}, since: null, ssid: "", key: "" };
    this.converted = new Map();
    this.i2cDevices = (setup.i2c ?? []).map((given) => this.i2cDevice(given));
    this.spiDevices = (setup.spi ?? []).map((given) => this.spiDevice(given));
    for (const given of setup.distance ?? []) this.distance(given);
    for (const [from, to] of setup.wires ?? []) this.wire(from, to);
  }

  /** The newest [t, …] of a script that has come by now, or null. */
  current(script) {
    let found = null;
    for (const entry of script ?? []) if (entry[0] <= this.board.now) found = entry;
    return found;
  }

  armed() {
    return [...this.uarts.values()].some((uart) => uart.handler !== 0);
  }

  wire(from, to) {
    const target = this.board.pin(to);
    const source = this.board.pin(from);
    source.watchers.push((level) => this.board.drive(target, level));
    this.board.drive(target, this.board.level(source));
  }

  /** An HC-SR04: after a trigger of 10 µs or more the echo rises, for as long as sound travels there and back. */
  distance({ trigger, echo, mm }) {
    let raised = null;
    const target = this.board.pin(echo);
    this.board.drive(target, 0);
    this.board.pin(trigger).watchers.push((level) => {
      if (level === 1) raised = this.board.now;
      const far = this.current(mm);
      if (level === 1 || raised === null || this.board.now - raised < 10 || far === null || far[1] === null) return;
      const start = this.board.now + 450;
      this.board.at(start, () => this.board.drive(target, 1));
      this.board.at(start + Math.round((far[1] * 2) / 0.343), () => this.board.drive(target, 0));
    });
  }

  adc(id) {
    const found = this.current((this.setup.adc ?? {})[String(id)]);
    const value = found === null ? 0 : found[1];
    this.board.reading("adc", { pin: id, value });
    this.board.spend(5);
    return value;
  }

  // -- I2C ---------------------------------------------------------------------------------------------------------

  i2cDevice(given) {
    const registers = new Uint8Array(given.reg_bytes === 2 ? 65536 : 256);
    for (const [register, hex] of Object.entries(given.registers ?? {})) registers.set(bytesOf(hex), Number(register));
    for (const [t, register, hex] of given.changes ?? []) {
      this.board.at(t, () => registers.set(bytesOf(hex), Number(register)));
    }
    return { ...given, registers, pointer: 0, reply: null };
  }

  i2cInit(bus, sda, scl, freq) {
    this.i2cBuses.set(bus, { sda, scl, freq });
    this.board.record("i2c_init", { bus, sda, scl, freq });
  }

  reachable(bus, device) {
    const found = this.i2cBuses.get(bus);
    return found !== undefined && fits(found.sda, device.sda) && fits(found.scl, device.scl);
  }

  i2cScan(bus) {
    this.board.reading("i2c_scan", { bus });
    this.board.spend(3000);
    const found = this.i2cDevices.filter((device) => this.reachable(bus, device)).map((device) => device.address);
    return hexOf(found.sort((a, b) => a - b));
  }

  /** One transfer: bytes written (hex, "" for none), then `count` bytes read; hex of what was read. */
  i2c(bus, address, hex, count) {
    const device = this.i2cDevices.find((found) => found.address === address && this.reachable(bus, found));
    const written = bytesOf(hex);
    const rate = this.i2cBuses.get(bus)?.freq || 100000;
    this.board.spend(Math.ceil(((written.length + count + 1) * 9e6) / rate));
    if (device === undefined) {
      this.board.reading("i2c", { bus, address, write: hex, read: "", ack: false });
      return error("OSError", 5);
    }
    let read = new Uint8Array(count);
    if (device.replies) {
      // a device of commands: what was written last decides what is read, `ready_us` later
      if (written.length > 0) device.reply = { hex, t: this.board.now };
      const reply = device.reply === null ? undefined : this.replyTo(device, device.reply.hex);
      const early = reply !== undefined && this.board.now - device.reply.t < (device.ready_us ?? 0);
      if (count > 0 && early && device.nack_while_busy) {
        this.board.reading("i2c", { bus, address, write: hex, read: "", ack: false });
        return error("OSError", 5);
      }
      if (reply !== undefined && !early) read.set(reply.subarray(0, count));
    } else {
      const width = device.reg_bytes ?? 1;
      if (written.length >= width) {
        device.pointer = width === 2 ? written[0] * 256 + written[1] : written[0];
        for (const byte of written.subarray(width)) device.registers[this.next(device)] = byte;
      }
      read = read.map(() => device.registers[this.next(device)]);
    }
    this.board.reading("i2c", { bus, address, write: hex, read: hexOf(read), ack: true });
    return hexOf(read);
  }

  replyTo(device, hex) {
    const found = device.replies[hex];
    if (found === undefined) return undefined;
    return bytesOf(typeof found === "string" ? found : this.current(found)?.[1] ?? "");
  }

  next(device) {
    const here = device.pointer;
    device.pointer = (here + 1) % device.registers.length;
    return here;
  }

  // -- SPI ---------------------------------------------------------------------------------------------------------

  spiDevice(given) {
    const longest = Math.max(0, ...Object.keys(given.replies ?? {}).map((key) => key.length));
    const device = { ...given, heard: "", longest, count: 0 };
    const select = this.board.pin(given.cs);
    select.watchers.push((level) => {
      if (level === 0) Object.assign(device, { heard: "", count: 0 });
      this.board.record("spi_select", { cs: select.id, active: level === 0 });
    });
    return device;
  }

  spiInit(bus, sck, mosi, miso, rate, mode) {
    this.spiBuses.set(bus, { sck, mosi, miso, rate });
    this.board.record("spi_init", { bus, sck, mosi, miso, rate, mode });
  }

  /** Bytes out, as many bytes in. A device answers by the longest of its `replies` that begins what it heard. */
  spi(bus, hex) {
    const out = bytesOf(hex);
    const selected = this.spiDevices.filter((device) => {
      const select = this.board.pin(device.cs);
      if (!["sck", "mosi", "miso"].every((name) => fits(this.spiBuses.get(bus)?.[name], device[name]))) return false;
      return select.mode === "out" && this.board.level(select) === 0;
    });
    const back = out.map((byte) => {
      let answer = 0;
      for (const device of selected) {
        const place = device.count++;
        if (device.heard.length < device.longest) device.heard += hexOf([byte]);
        const keys = Object.keys(device.replies ?? {}).filter((key) => device.heard.startsWith(key));
        const key = keys.sort((a, b) => b.length - a.length)[0];
        const reply = key === undefined ? null : device.replies[key];
        const bytes = bytesOf(typeof reply === "string" ? reply : this.current(reply)?.[1] ?? "");
        answer |= bytes[place] ?? 0;
      }
      return answer;
    });
    this.board.spend(Math.ceil((out.length * 8e6) / (this.spiBuses.get(bus)?.rate || 1e6)));
    this.board.record("spi", { bus, cs: selected.map((device) => device.cs), write: hex, read: hexOf(back) });
    return hexOf(back);
  }

  // -- UART --------------------------------------------------------------------------------------------------------

  uart(id) {
    if (this.uarts.size > 8) id = 0;
    if (!this.uarts.has(id)) this.uarts.set(id, { buffer: [], rate: 0, handler: 0, heard: "", given: {}, started: false });
    return this.uarts.get(id);
  }

  uartInit(id, rate, tx, rx, handler) {
    const uart = this.uart(id);
    const given = (this.setup.uart ?? {})[String(id)] ?? {};
    Object.assign(uart, { rate, tx, rx, given, handler: handler ?? 0 });
    if (!uart.started) {
      for (const [t, hex] of given.input ?? []) {
        if (t >= this.board.now) this.board.at(t, () => this.arrive(uart, bytesOf(hex)));
      }
    }
    const setting = `${rate} ${tx} ${rx}`;
    if (uart.logged !== setting) this.board.record("uart_init", { uart: id, rate, tx, rx });
    uart.started = true;
    uart.logged = setting;
  }

  connected(uart) {
    return fits(uart.tx, uart.given.tx) && fits(uart.rx, uart.given.rx);
  }

  arrive(uart, bytes) {
    if (!this.connected(uart)) return;
    const garbled = uart.given.baudrate && uart.given.baudrate !== uart.rate;
    for (const byte of bytes) if (uart.buffer.length < 4096) uart.buffer.push(garbled ? byte ^ 0x9a : byte);
    this.board.interrupt(uart.handler);
  }

  uartRead(id, count) {
    this.board.spend(1);
    return hexOf(this.uart(id).buffer.splice(0, count));
  }

  uartWrite(id, hex) {
    const uart = this.uart(id);
    this.board.record("uart", { uart: id, data: hex });
    this.board.spend(Math.ceil((hex.length * 5e6) / Math.max(uart.rate, 1)));
    const garbled = uart.given.baudrate && uart.given.baudrate !== uart.rate;
    if (garbled || !this.connected(uart)) return;
    uart.heard = (uart.heard + hex).slice(-400);
    for (const [asked, reply] of Object.entries(uart.given.replies ?? {})) {
      if (!uart.heard.endsWith(asked)) continue;
      uart.heard = "";
      this.board.at(this.board.now + 2000, () => this.arrive(uart, bytesOf(reply)));
      break;
    }
  }

  // -- sensors and radio -------------------------------------------------------------------------------------------

  dht(pin) {
    const found = this.current((this.setup.dht ?? {})[String(pin)]);
    this.board.record("dht", { pin: this.board.pin(pin).id, ack: found !== null });
    this.board.spend(20000);
    return found === null ? error("OSError", 110) : `${found[1]} ${found[2]}`;
  }

  ds18x20(what, pin, rom) {
    const sensors = (this.setup.ds18x20 ?? {})[String(pin)] ?? {};
    this.board.record("ds18x20", { pin: this.board.pin(pin).id, op: what, rom: rom ?? "" });
    this.board.spend(5000);
    if (what === "scan") return Object.keys(sensors).join(" ");
    if (what === "convert") {
      for (const [name, script] of Object.entries(sensors)) {
        const celsius = this.current(script)?.[1] ?? 85;
        this.board.at(this.board.now + 745000, () => this.converted.set(name, celsius));
      }
      return null;
    }
    if (!Object.hasOwn(sensors, rom)) return error("OSError", 19);
    return this.converted.get(rom) ?? 85.0; // what the chip holds after power-on
  }

  wlan(what, first, second) {
    const radio = this.radio;
    const { networks = null, delay_us: delay = 2e6 } = this.setup.wlan ?? {};
    if (what === "active" && first !== null && second !== null) {
      radio.active[first] = second;
      this.board.record("wlan", { op: "active", station: first === 0, on: Boolean(second) });
    }
    if (what === "active") return radio.active[first] ? 1 : 0;
    if (what === "connect") {
      this.board.record("wlan", { op: "connect", ssid: String(first), key: String(second) });
      if (!radio.active[0]) return error("OSError", "Wifi Not Started");
      Object.assign(radio, { since: this.board.now, ssid: String(first), key: String(second) });
      return null;
    }
    if (what === "disconnect") {
      this.board.record("wlan", { op: "disconnect" });
      radio.since = null;
      return null;
    }
    if (what === "access_point") return this.board.record("wlan", { op: "access_point", ssid: String(first) });
    if (what === "scan") return Object.keys(networks ?? { workshop: "" }).join("\n");
    this.board.poll();
    if (radio.since === null) return 0; // idle
    if (this.board.now - radio.since < delay) return 1; // connecting
    if (networks === null) return 3; // got an address
    if (!Object.hasOwn(networks, radio.ssid)) return -2;
    return networks[radio.ssid] === radio.key ? 3 : -3;
  }
}
