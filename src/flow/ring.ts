/**
 * A byte ring in shared memory between one asynchronous writer (the main thread) and one blocking reader (a thread).
 * It is the only buffer between decompressor and unpack thread, so its capacity is the memory bound and the back-pressure.
 *
 * HEAD and TAIL count bytes modulo 2^32. Each side sleeps on a sequence word that the other side advances after every change,
 * so that no wake-up is lost between looking and sleeping.
 */
const HEAD = 0
const TAIL = 1
const STATE = 2
const INPUT_SEQUENCE = 3
const OUTPUT_SEQUENCE = 4
const CONTROL_WORDS = 16

const STATE_ENDED = 1
const STATE_ABORTED = 2

/** What both sides hold; structured-cloneable. */
export interface RingMemory {
  readonly control: SharedArrayBuffer
  readonly data: SharedArrayBuffer
}

/** @param capacity in bytes, a power of two */
export function createRing(capacity: number): RingMemory {
  return { control: new SharedArrayBuffer(CONTROL_WORDS * 4), data: new SharedArrayBuffer(capacity) }
}

/** Thrown by the reader when the writer gave up, and by the writer when the reader is gone. */
export class RingAborted extends Error {
  constructor() {
    super('the other end of the ring is gone')
    this.name = 'RingAborted'
  }
}

function advance(control: Int32Array, word: number): void {
  Atomics.add(control, word, 1)
  Atomics.notify(control, word)
}

export class RingWriter {
  readonly #control: Int32Array
  readonly #data: Uint8Array

  constructor(memory: RingMemory) {
    this.#control = new Int32Array(memory.control)
    this.#data = new Uint8Array(memory.data)
  }

  /** Bytes written so far that the reader has not taken yet. */
  get pending(): number {
    return (Atomics.load(this.#control, HEAD) - Atomics.load(this.#control, TAIL)) >>> 0
  }

  /** Copies the chunk in; waits where the ring is full. */
  async write(chunk: Uint8Array): Promise<void> {
    let done = 0
    while (done < chunk.length) {
      const sequence = Atomics.load(this.#control, OUTPUT_SEQUENCE)
      if (Atomics.load(this.#control, STATE) === STATE_ABORTED) throw new RingAborted()
      const room = this.#data.length - this.pending
      if (room === 0) {
        await Atomics.waitAsync(this.#control, OUTPUT_SEQUENCE, sequence).value
        continue
      }
      done += this.#put(done === 0 && chunk.length <= room ? chunk : chunk.subarray(done, done + room))
    }
  }

  #put(piece: Uint8Array): number {
    const head = Atomics.load(this.#control, HEAD)
    const at = (head >>> 0) % this.#data.length
    const first = Math.min(piece.length, this.#data.length - at)
    this.#data.set(first === piece.length ? piece : piece.subarray(0, first), at)
    if (first < piece.length) this.#data.set(piece.subarray(first), 0)
    Atomics.store(this.#control, HEAD, (head + piece.length) | 0)
    advance(this.#control, INPUT_SEQUENCE)
    return piece.length
  }

  /** No more bytes will come: the reader sees the end after what is in the ring. */
  end(): void {
    // Never over an abort: the reader must not take what it has for the whole.
    Atomics.compareExchange(this.#control, STATE, 0, STATE_ENDED)
    advance(this.#control, INPUT_SEQUENCE)
  }

  /** Wakes both sides; every later read or write throws RingAborted. */
  abort(): void {
    Atomics.store(this.#control, STATE, STATE_ABORTED)
    advance(this.#control, INPUT_SEQUENCE)
    advance(this.#control, OUTPUT_SEQUENCE)
  }
}

/** Blocks its thread while it waits. A view that it returns is valid until the next call. */
export class RingReader {
  readonly #control: Int32Array
  readonly #data: Uint8Array
  #scratch = new Uint8Array(4096)
  readonly #releaseMin: number
  #head = 0
  #tail = 0
  #released = 0

  constructor(memory: RingMemory) {
    this.#control = new Int32Array(memory.control)
    this.#data = new Uint8Array(memory.data)
    // Waking the writer costs it an event-loop turn, so it is told of room in eighths of the ring.
    this.#releaseMin = memory.data.byteLength / 8
  }

  /** Exactly `length` bytes (at most half of the ring), or undefined where the stream ended before them. */
  read(length: number): Uint8Array | undefined {
    this.#checkAborted()
    // It would wait for ever for what can never be there at once.
    if (length > this.#data.length / 2)
      throw new RangeError(`${length} bytes at once; at most ${this.#data.length / 2}`)
    if (this.#available() < length && !this.#waitFor(length)) return undefined
    const at = (this.#tail >>> 0) % this.#data.length
    if (at + length <= this.#data.length) {
      this.#take(length)
      return this.#data.subarray(at, at + length)
    }
    const first = this.#data.length - at
    if (this.#scratch.length < length) this.#scratch = new Uint8Array(length)
    this.#scratch.set(this.#data.subarray(at), 0)
    this.#scratch.set(this.#data.subarray(0, length - first), first)
    this.#take(length)
    return this.#scratch.subarray(0, length)
  }

  /** The next bytes as they lie in the ring, at most `lengthMax` of them: waits for a piece worth a system call. Empty at the end. */
  chunk(lengthMax: number): Uint8Array {
    this.#checkAborted()
    const at = (this.#tail >>> 0) % this.#data.length
    const wanted = Math.min(lengthMax, this.#data.length - at)
    const enough = Math.min(wanted, this.#data.length / 4)
    if (this.#available() < enough) this.#waitFor(enough)
    const length = Math.min(wanted, this.#available())
    this.#take(length)
    return this.#data.subarray(at, at + length)
  }

  /** Looked at also where there is data: what is in the ring of an aborted stream is not worth the work. */
  #checkAborted(): void {
    if (Atomics.load(this.#control, STATE) === STATE_ABORTED) throw new RingAborted()
  }

  #available(): number {
    return (this.#head - this.#tail) >>> 0
  }

  // What is taken now is given back at the next call, since the view of it is still in use until then.
  #take(length: number): void {
    if ((this.#tail - this.#released) >>> 0 >= this.#releaseMin) this.#release()
    this.#tail = (this.#tail + length) | 0
  }

  #release(): void {
    this.#released = this.#tail
    Atomics.store(this.#control, TAIL, this.#tail)
    advance(this.#control, OUTPUT_SEQUENCE)
  }

  /** Waits until `length` bytes are there; false if the stream ends before. */
  #waitFor(length: number): boolean {
    while (true) {
      const sequence = Atomics.load(this.#control, INPUT_SEQUENCE)
      const state = Atomics.load(this.#control, STATE)
      this.#checkAborted()
      this.#head = Atomics.load(this.#control, HEAD)
      if (this.#available() >= length) return true
      if (this.#released !== this.#tail) this.#release()
      if (state === STATE_ENDED) return false
      Atomics.wait(this.#control, INPUT_SEQUENCE, sequence)
    }
  }
}
