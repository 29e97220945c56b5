/**
 * Writes to a pipe of somebody else in a process of its own, which comes to its end although we may not: what it was given it writes, and it says in a file how much that
 * was. So whoever goes on after our death knows to the byte where to.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { markPipe } from './foreign-pipes.ts'
import { openPipe, PipeWriter } from './pipes.ts'
import { formatWritten, readWritten, type WrittenSoFar } from './written-count.ts'

const scriptUrl = new URL(
  import.meta.url.endsWith('.ts') ? './outliving-writer-process.ts' : './outliving-writer-process.js',
  import.meta.url,
)

export class OutlivingWriter implements Disposable {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #input: PipeWriter
  readonly #ended: Promise<unknown>
  readonly #countFile: string
  /** Until the first byte. */
  #output: number | undefined

  /**
   * @param output the pipe, open for writing; closed with the first byte, or when this is disposed of
   * @param countFile is made
   */
  constructor(output: number, countFile: string) {
    this.#countFile = countFile
    this.#output = output
    const open: number[] = []
    let writeEnd: number | undefined
    try {
      const input = openPipe()
      const { readEnd } = input
      writeEnd = input.writeEnd
      open.push(readEnd)
      const count = openSync(countFile, 'wx', 0o600)
      open.push(count)
      writeFileSync(count, formatWritten(0, 'writing')) // what a full disk has no room for is found before anything is done
      const stdio = [readEnd, output, 'ignore', count] as const
      this.#child = spawn(process.execPath, [scriptUrl.pathname], {
        cwd: '/',
        detached: true,
        env: {},
        stdio: [...stdio],
      })
    } catch (error) {
      if (writeEnd !== undefined) closeSync(writeEnd)
      this.#closeOutput()
      throw error
    } finally {
      for (const fd of open) closeSync(fd)
    }
    this.#ended = once(this.#child, 'close').catch(() => {})
    this.pid = this.#child.pid ?? 0
    this.#input = new PipeWriter(writeEnd)
  }

  /** Marks the pipe as one that was written to; before the first byte. @returns false if that cannot be: see `markPipe` */
  mark(): boolean {
    return this.#output !== undefined && markPipe(this.#output)
  }

  /** Resolves when the process has it, or will get it. @throws Error EPIPE if the process has ended; the signal's reason: some of it may come through all the same */
  async write(data: Uint8Array, signal: AbortSignal): Promise<void> {
    this.#closeOutput()
    await unlessAborted(this.#input.write(data), signal)
  }

  /**
   * Says that nothing more comes, and waits for its end, or for the signal: as long as nobody reads the pipe the process does not end.
   * @returns how far it is, or undefined if it did not say that
   */
  async end(signal: AbortSignal): Promise<WrittenSoFar | undefined> {
    this.#input.end()
    await unlessAborted(this.#ended, signal).catch(() => {})
    return readWritten(this.#countFile)
  }

  /** Leaves it to itself. */
  [Symbol.dispose](): void {
    this.#closeOutput()
    this.#input[Symbol.dispose]()
    this.#child.unref()
  }

  /** One more writer would hide the end of the stream from its reader. */
  #closeOutput(): void {
    if (this.#output !== undefined) closeSync(this.#output)
    this.#output = undefined
  }
}

/** What waits for a reader that may never come. @throws the signal's reason */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = () => reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
