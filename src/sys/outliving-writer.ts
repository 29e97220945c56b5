/**
 * Writes to a pipe of somebody else in a process of its own, which comes to its end although we may not: what it was given it writes, and it says in a file how much that
 * was. So whoever goes on after our death knows to the byte where to.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, writeFileSync } from 'node:fs'
import { trySetPipeSize } from './libc.ts'
import { openPipe, PipeWriter } from './pipes.ts'
import { formatWritten, readWritten, type WrittenSoFar } from './written-count.ts'

const scriptUrl = new URL(
  import.meta.url.endsWith('.ts') ? './outliving-writer-process.ts' : './outliving-writer-process.js',
  import.meta.url,
)

/**
 * What the pipe holds from the first byte on, if this user may have so much: by the kernel's 64 KiB, whoever reads it and whoever writes it take turns all the time, and
 * three times as long. It goes with its writers: nobody has a pipe afterwards that is larger than before.
 */
const roomBytes = 1 << 20

export class OutlivingWriter implements Disposable {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #input: PipeWriter
  readonly #ended: Promise<unknown>
  readonly #countFile: string
  readonly #pipe: string
  #hasBegun = false

  /**
   * @param pipe a path of /proc that leads to the pipe
   * @param countFile is made
   */
  constructor(pipe: string, countFile: string) {
    const { readEnd, writeEnd } = openPipe()
    const open: number[] = [readEnd]
    this.#countFile = countFile
    this.#pipe = pipe
    try {
      const count = openSync(countFile, 'wx', 0o600)
      open.push(count)
      writeFileSync(count, formatWritten(0, 'writing')) // what a full disk has no room for is found before anything is done
      const output = openSync(pipe, constants.O_WRONLY)
      open.push(output)
      const stdio = [readEnd, output, 'ignore', count] as const
      this.#child = spawn(process.execPath, [scriptUrl.pathname], {
        cwd: '/',
        detached: true,
        env: {},
        stdio: [...stdio],
      })
    } catch (error) {
      closeSync(writeEnd)
      throw error
    } finally {
      for (const fd of open) closeSync(fd)
    }
    this.#ended = once(this.#child, 'close').catch(() => {})
    this.pid = this.#child.pid ?? 0
    this.#input = new PipeWriter(writeEnd)
  }

  /** Resolves when the process has it, or will get it. @throws Error EPIPE if the process has ended */
  async write(data: Uint8Array): Promise<void> {
    if (!this.#hasBegun) widen(this.#pipe)
    this.#hasBegun = true
    await this.#input.write(data)
  }

  /** Says that nothing more comes, and waits for its end. @returns undefined if it did not say how far it came */
  async end(): Promise<WrittenSoFar | undefined> {
    this.#input.end()
    await this.#ended
    return readWritten(this.#countFile)
  }

  /** Leaves it to itself. */
  [Symbol.dispose](): void {
    this.#input[Symbol.dispose]()
    this.#child.unref()
  }
}

function widen(pipe: string): void {
  const fd = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK)
  try {
    trySetPipeSize(fd, roomBytes)
  } finally {
    closeSync(fd)
  }
}
