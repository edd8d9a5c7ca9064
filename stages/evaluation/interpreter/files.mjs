// The files of one program: a small tree in memory, offered to the interpreter as system calls. Nothing here reaches a disk.

// MicroPython's own error numbers, which programs compare with, not those of emscripten's C library
const [ENOENT, EBADF, EEXIST, ENOTDIR, EISDIR, EINVAL, EMFILE] = [2, 9, 17, 20, 21, 22, 24];
const [ENOSPC, EROFS, ERANGE, ENOTEMPTY] = [28, 30, 34, 39];
const O_WRITE = 0o3, O_CREAT = 0o100, O_EXCL = 0o200, O_TRUNC = 0o1000, O_APPEND = 0o2000;
const DIRENT = 280;
const DEEPEST = 64; // folders in each other

class Refused {
  constructor(errno) { this.errno = errno; }
}

export class Files {
  /** A tree of folders (Map) and files ({data, size, fixed}); writing stops at `budget` bytes in all. */
  constructor(memory, budget) {
    this.memory = memory; // () => Uint8Array over the interpreter's memory
    this.budget = budget;
    this.root = new Map();
    this.open = new Map(); // descriptor → {node, path, position, append, writable}
    this.cwd = "/";
    this.stdin = new Uint8Array();
    this.starved = () => {}; // asked for more input than there is
    this.stdout = () => {};
  }

  parts(path) {
    const found = [];
    for (const part of (path.startsWith("/") ? path : `${this.cwd}/${path}`).split("/")) {
      if (part === "..") found.pop();
      else if (part !== "" && part !== ".") found.push(part);
    }
    return found;
  }

  lookup(path) {
    let node = this.root;
    for (const part of this.parts(path)) {
      if (!(node instanceof Map)) throw new Refused(ENOTDIR);
      node = node.get(part);
      if (node === undefined) throw new Refused(ENOENT);
    }
    return node;
  }

  parent(path) {
    const parts = this.parts(path);
    const name = parts.pop();
    if (name === undefined) throw new Refused(EINVAL);
    if (parts.length > DEEPEST) throw new Refused(EINVAL);
    const folder = this.lookup(`/${parts.join("/")}`);
    if (!(folder instanceof Map)) throw new Refused(ENOTDIR);
    return [folder, name];
  }

  /** Put a file there from outside, folders included. */
  add(path, bytes, fixed = false) {
    const parts = this.parts(path);
    let folder = this.root;
    for (const part of parts.slice(0, -1)) {
      if (!folder.has(part)) folder.set(part, new Map());
      folder = folder.get(part);
    }
    folder.set(parts.at(-1), { data: bytes.slice(), size: bytes.length, fixed });
  }

  /** Name and bytes of everything that a program may have written. */
  *written(folder = this.root, prefix = "") {
    for (const [name, node] of folder) {
      if (node instanceof Map) yield* this.written(node, `${prefix}${name}/`);
      else if (!node.fixed) yield [prefix + name, node.data.subarray(0, node.size)];
    }
  }

  charge(name) {
    const cost = 256 + name.length; // a name takes room too
    if (this.budget < cost) throw new Refused(ENOSPC);
    this.budget -= cost;
  }

  grow(node, size) {
    if (size > node.data.length) {
      if (size > this.budget) throw new Refused(ENOSPC);
      const larger = new Uint8Array(Math.min(Math.max(size, 2 * node.data.length), this.budget));
      this.budget -= larger.length - node.data.length;
      larger.set(node.data.subarray(0, node.size));
      node.data = larger;
    }
    node.size = Math.max(node.size, size);
  }

  stat(node, at) {
    const view = new DataView(this.memory().buffer, at, 96);
    for (let i = 0; i < 96; i += 4) view.setUint32(i, 0, true);
    const folder = node instanceof Map;
    view.setUint32(4, folder ? 0o40777 : 0o100666, true);
    view.setUint32(8, 1, true);
    view.setBigInt64(24, BigInt(folder ? 0 : node.size), true);
    view.setInt32(32, 4096, true);
  }

  text(at) {
    const bytes = this.memory();
    return new TextDecoder().decode(bytes.subarray(at, bytes.indexOf(0, at)));
  }

  openat(path, flags) {
    const [folder, name] = path === "/" || this.parts(path).length === 0 ? [null, ""] : this.parent(path);
    let node = folder === null ? this.root : folder.get(name);
    if (node === undefined) {
      if (!(flags & O_CREAT)) throw new Refused(ENOENT);
      this.charge(name);
      node = { data: new Uint8Array(), size: 0, fixed: false };
      folder.set(name, node);
    } else if (flags & O_EXCL) throw new Refused(EEXIST);
    const writable = (flags & O_WRITE) !== 0;
    if (writable && node instanceof Map) throw new Refused(EISDIR);
    if (writable && node.fixed) throw new Refused(EROFS);
    if (flags & O_TRUNC && writable) node.size = 0;
    if (this.open.size >= 64) throw new Refused(EMFILE);
    let descriptor = 3;
    while (this.open.has(descriptor)) descriptor += 1;
    this.open.set(descriptor, { node, position: 0, append: (flags & O_APPEND) !== 0, writable });
    return descriptor;
  }

  read(descriptor, target) {
    if (descriptor === 0) {
      if (this.stdin.length === 0) this.starved();
      const taken = this.stdin.subarray(0, target.length);
      target.set(taken);
      this.stdin = this.stdin.subarray(taken.length);
      return taken.length;
    }
    const stream = this.stream(descriptor);
    if (stream.node instanceof Map) throw new Refused(EISDIR);
    const taken = stream.node.data.subarray(stream.position, Math.min(stream.node.size, stream.position + target.length));
    target.set(taken);
    stream.position += taken.length;
    return taken.length;
  }

  write(descriptor, bytes) {
    if (descriptor === 1 || descriptor === 2) {
      this.stdout(bytes);
      return bytes.length;
    }
    const stream = this.stream(descriptor);
    if (!stream.writable) throw new Refused(EBADF);
    if (stream.append) stream.position = stream.node.size;
    this.grow(stream.node, stream.position + bytes.length);
    stream.node.data.set(bytes, stream.position);
    stream.position += bytes.length;
    return bytes.length;
  }

  stream(descriptor) {
    const stream = this.open.get(descriptor);
    if (stream === undefined) throw new Refused(EBADF);
    return stream;
  }

  remove(path, folderWanted) {
    const [folder, name] = this.parent(path);
    const node = folder.get(name);
    if (node === undefined) throw new Refused(ENOENT);
    if (node instanceof Map !== folderWanted) throw new Refused(folderWanted ? ENOTDIR : EISDIR);
    if (folderWanted ? node.size : node.fixed) throw new Refused(folderWanted ? ENOTEMPTY : EROFS);
    folder.delete(name);
  }

  vectors(at, count) {
    const bytes = this.memory();
    const view = new DataView(bytes.buffer);
    return Array.from({ length: count }, (_, i) => {
      const start = view.getUint32(at + 8 * i, true);
      return bytes.subarray(start, start + view.getUint32(at + 8 * i + 4, true));
    });
  }

  /** The system calls that the interpreter imports; each answers with an error number instead of throwing. */
  calls() {
    const guarded = (sign, work) => (...args) => {
      try {
        return work(...args);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return sign * error.errno;
      }
    };
    const view = () => new DataView(this.memory().buffer);
    const stat = guarded(-1, (path, at) => (this.stat(this.lookup(this.text(path)), at), 0));
    const syscall = {
      __syscall_chdir: (path) => {
        const name = this.text(path);
        if (!(this.lookup(name) instanceof Map)) throw new Refused(ENOTDIR);
        this.cwd = `/${this.parts(name).join("/")}`;
        return 0;
      },
      __syscall_getcwd: (at, size) => {
        const name = new TextEncoder().encode(`${this.cwd}\0`);
        if (name.length > size) throw new Refused(ERANGE);
        this.memory().set(name, at);
        return name.length;
      },
      __syscall_mkdirat: (_, path) => {
        const [folder, name] = this.parent(this.text(path));
        if (folder.has(name)) throw new Refused(EEXIST);
        this.charge(name);
        folder.set(name, new Map());
        return 0;
      },
      __syscall_openat: (_, path, flags) => this.openat(this.text(path), flags),
      __syscall_renameat: (_, from, __, to) => {
        const [folder, name] = this.parent(this.text(from));
        const node = folder.get(name);
        if (node === undefined) throw new Refused(ENOENT);
        if (node instanceof Map || node.fixed) throw new Refused(EROFS);
        const [target, renamed] = this.parent(this.text(to));
        folder.delete(name);
        target.set(renamed, node);
        return 0;
      },
      __syscall_unlinkat: (_, path, flags) => (this.remove(this.text(path), flags === 512), 0),
      __syscall_rmdir: (path) => (this.remove(this.text(path), true), 0),
      __syscall_getdents64: (descriptor, at, count) => {
        const stream = this.stream(descriptor);
        if (!(stream.node instanceof Map)) throw new Refused(ENOTDIR);
        const names = [...stream.node.keys()];
        let written = 0;
        for (; stream.position < names.length && written + DIRENT <= count; stream.position += 1, written += DIRENT) {
          const name = names[stream.position];
          const entry = view();
          entry.setBigUint64(at + written, 1n, true);
          entry.setBigUint64(at + written + 8, BigInt(stream.position + 1), true);
          entry.setUint16(at + written + 16, DIRENT, true);
          entry.setUint8(at + written + 18, stream.node.get(name) instanceof Map ? 4 : 8);
          const bytes = new TextEncoder().encode(name).subarray(0, 255);
          this.memory().fill(0, at + written + 19, at + written + DIRENT);
          this.memory().set(bytes, at + written + 19);
        }
        return written;
      },
      __syscall_fstat64: (descriptor, at) => (this.stat(this.stream(descriptor).node, at), 0),
      __syscall_newfstatat: (_, path, at) => (this.stat(this.lookup(this.text(path)), at), 0),
      __syscall_statfs64: (_, size, at) => {
        const found = view();
        for (let i = 0; i < size; i += 4) found.setUint32(at + i, 0, true);
        for (const [where, value] of [[4, 4096], [60, 4096]]) found.setUint32(at + where, value, true);
        for (const [where, value] of [[8, 352], [16, 300], [24, 300]]) found.setBigUint64(at + where, BigInt(value), true);
        return 0;
      },
      __syscall_poll: () => 0,
    };
    const wasi = {
      fd_close: (descriptor) => {
        this.stream(descriptor);
        this.open.delete(descriptor);
        return 0;
      },
      fd_sync: () => 0,
      fd_seek: (descriptor, offset, whence, at) => {
        const stream = this.stream(descriptor);
        const base = whence === 1 ? stream.position : whence === 2 ? stream.node.size : 0;
        const position = base + Number(offset);
        if (!(position >= 0 && position <= 2 ** 30)) throw new Refused(EINVAL);
        stream.position = position;
        view().setBigInt64(at, BigInt(position), true);
        return 0;
      },
      fd_read: (descriptor, at, count, total) => {
        let sum = 0;
        for (const target of this.vectors(at, count)) sum += this.read(descriptor, target);
        view().setUint32(total, sum, true);
        return 0;
      },
      fd_write: (descriptor, at, count, total) => {
        let sum = 0;
        for (const bytes of this.vectors(at, count)) sum += this.write(descriptor, bytes);
        view().setUint32(total, sum, true);
        return 0;
      },
    };
    const all = (sign, calls) => Object.fromEntries(Object.entries(calls).map(([name, work]) => [name, guarded(sign, work)]));
    return { env: { ...all(-1, syscall), __syscall_stat64: stat, __syscall_lstat64: stat }, wasi: all(1, wasi) };
  }
}
