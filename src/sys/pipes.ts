/**
 * The kernel's pipes, for child processes. Both classes work through libuv's event loop (a non-blocking handle on the descriptor): `fs.read` on a
 * pipe would hold a thread of the pool for as long as the other side is silent.
 */
import { Socket } from 'node:net'
import { bytesInPipe, pipe2, trySetPipeSize } from './libc.ts'

/** What an unprivileged user may ask for (/proc/sys/fs/pipe-max-size); the kernel's default of 64 KiB costs a switch per 64 KiB. */
const pipeSize = 1024 * 1024
/** Read in one go, and then handed out in pieces: a new buffer for each read would be wasted on programs that write 32 KiB at a time. */
const slabSize = 1024 * 1024
/** Below that, the rest of a slab is not worth a read of its own. */
const readMin = 64 * 1024
/** Bytes that may wait for the reader, beside those in the pipe. */
const queueMax = 1024 * 1024
/** Bytes per write: how exactly `bytes` counts while a pipe is full. */
const pieceSize = 128 * 1024

/** The two ends of a pipe, as descriptors that are closed on exec. */
export function openPipe(): { readonly readEnd: number; readonly writeEnd: number } {
  const ends = pipe2()
  trySetPipeSize(ends.writeEnd, pipeSize) // smaller works, too
  return ends
}

/** Reads the end of a pipe that a child writes to. Owns the descriptor. */
export class PipeReader implements Disposable {
  /** Taken out of the pipe. */
  bytes = 0
  readonly #fd: number
  readonly #socket: Socket
  readonly #queue: Uint8Array[] = []
  #queued = 0
  #slab = Buffer.allocUnsafeSlow(slabSize)
  #filled = 0
  #ended = false
  #failure: unknown
  #wake: (() => void) | undefined

  constructor(fd: number) {
    this.#fd = fd
    const onread = { buffer: () => this.#room(), callback: (bytes: number) => this.#take(bytes) }
    this.#socket = new Socket({ fd, onread, readable: true, writable: false })
    this.#socket.on('end', () => this.end())
    this.#socket.on('error', error => this.fail(error))
    this.#socket.resume()
  }

  /** True while somebody waits for bytes and there are none. */
  get isWaiting(): boolean {
    return this.#wake !== undefined
  }

  /** Bytes that wait in the pipe itself. */
  get fill(): number {
    return this.#ended || this.#socket.destroyed ? 0 : bytesInPipe(this.#fd)
  }

  /** The next bytes, or undefined at the end. They may share an ArrayBuffer with later ones. One caller at a time. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.#queue.length === 0 && !this.#ended && this.#failure === undefined) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    if (this.#failure !== undefined) throw this.#failure
    const chunk = this.#queue.shift()
    this.#queued -= chunk?.length ?? 0
    if (this.#queued < queueMax && !this.#ended) this.#socket.resume()
    return chunk
  }

  /** Ends the stream after what is queued, although somebody may hold the other end open. */
  end(): void {
    this.#ended = true
    this.#notify()
  }

  /** Whoever waits, or asks next, gets this error; the first one counts. */
  fail(error: unknown): void {
    this.#failure ??= error
    this.#notify()
  }

  [Symbol.dispose](): void {
    this.end()
    this.#socket.destroy()
  }

  #room(): Uint8Array {
    if (slabSize - this.#filled < readMin) {
      this.#slab = Buffer.allocUnsafeSlow(slabSize)
      this.#filled = 0
    }
    return this.#slab.subarray(this.#filled)
  }

  #take(bytes: number): boolean {
    this.bytes += bytes
    const last = this.#queue.at(-1)
    const start = this.#filled
    this.#filled += bytes
    // What waits grows together, so that a slow reader gets large pieces from a program that writes small ones.
    const isNext = last?.buffer === this.#slab.buffer && last.byteOffset + last.length === start
    if (isNext) this.#queue.splice(-1, 1, this.#slab.subarray(last.byteOffset, this.#filled))
    else this.#queue.push(this.#slab.subarray(start, this.#filled))
    this.#queued += bytes
    this.#notify()
    return this.#queued < queueMax
  }

  #notify(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}

/** Writes to the end of a pipe that a child reads from. Owns the descriptor. */
export class PipeWriter implements Disposable {
  /** What the kernel has taken over, less than 128 KiB behind the truth. */
  bytes = 0
  readonly #fd: number
  readonly #socket: Socket
  #closed = false

  constructor(fd: number) {
    this.#fd = fd
    this.#socket = new Socket({ fd, readable: false, writable: true })
    this.#socket.on('error', () => {}) // told to whoever writes
  }

  /** True once the child was told that nothing more comes. */
  get isClosed(): boolean {
    return this.#closed
  }

  /** Bytes that the child has not taken yet; 0 once this end is closed, since then nobody can ask. */
  get fill(): number {
    return this.#closed || this.#socket.destroyed ? 0 : bytesInPipe(this.#fd)
  }

  /**
   * Resolves when the kernel has all of it; until then the bytes must stay as they are.
   * @throws Error EPIPE when nobody can read it any more, and when this end is disposed meanwhile
   */
  async write(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += pieceSize) await this.#writePiece(data.subarray(at, at + pieceSize))
  }

  #writePiece(piece: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(piece, error => {
        if (error) return reject(error)
        this.bytes += piece.length
        resolve()
      })
    })
  }

  /** Says that nothing more comes. */
  end(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.end()
  }

  [Symbol.dispose](): void {
    this.#closed = true
    this.#socket.destroy()
  }
}
