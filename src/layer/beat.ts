/**
 * The heartbeat of an unpack thread, in shared memory: it is seen from outside also while the thread sits in a system call. One writer.
 * Words: the number of entries begun, the length of the current entry's name, the thread's ID, then the name (a byte string, cut).
 */
const ENTRIES = 0
const NAME_LENGTH = 1
const TID = 2
const NAME_OFFSET = 12
const NAME_MAX = 504

export function createBeat(): SharedArrayBuffer {
  return new SharedArrayBuffer(NAME_OFFSET + NAME_MAX)
}

export class Beat {
  readonly #words: Int32Array
  readonly #name: Buffer

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, 3)
    this.#name = Buffer.from(memory, NAME_OFFSET, NAME_MAX)
  }

  /** The writer begins an entry; an empty name means that it is done with entries. */
  enter(name: string): void {
    Atomics.store(this.#words, NAME_LENGTH, this.#name.write(name, 0, NAME_MAX, 'latin1'))
    if (name !== '') Atomics.add(this.#words, ENTRIES, 1)
  }

  /** The writer says which thread it is, in the kernel's numbers. */
  begin(tid: number): void {
    Atomics.store(this.#words, TID, tid)
  }

  /** The writer's name under /proc/PID/task; 0 as long as it has not begun. */
  get tid(): number {
    return Atomics.load(this.#words, TID)
  }

  get entries(): number {
    return Atomics.load(this.#words, ENTRIES)
  }

  /** The entry that is being worked on, as text for people. */
  get name(): string {
    return this.#name.toString('utf8', 0, Atomics.load(this.#words, NAME_LENGTH))
  }
}
