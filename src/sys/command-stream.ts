import { type ChildProcess, spawn } from 'node:child_process'
import { Duplex, type DuplexOptions } from 'node:stream'
import { keep, markName } from './keeper.ts'

/** What is kept of a program's complaints. */
const stderrMax = 4096

/**
 * A program as a connection: what is written goes to its stdin, what is read comes from its stdout. It runs with the caller's environment and is
 * ended with its group when the stream is destroyed, and with this process. A connection that ends early gives what the program said on stderr as its error.
 */
export function openCommandStream(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Duplex {
  const kept = keep()
  const marked = { ...env, [markName]: kept.mark }
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: marked })
  if (child.pid !== undefined) kept.started(child.pid)
  child.once('close', () => kept.end())
  child.once('error', () => kept.end())
  return new CommandStream(child, program)
}

class CommandStream extends Duplex {
  readonly #child: ChildProcess
  #stderr = ''

  constructor(child: ChildProcess, program: string) {
    const options: DuplexOptions = { allowHalfOpen: true, autoDestroy: true }
    super(options)
    this.#child = child
    const fail = (state: string) => this.destroy(new Error(`${program}: ${this.#stderr.trim() || state}`))
    child.once('error', error => fail(error.message))
    child.stderr?.on('data', (data: Buffer) => {
      this.#stderr += data.toString('utf8', 0, stderrMax - this.#stderr.length)
    })
    child.stderr?.on('error', () => {})
    child.stdin?.on('error', () => {}) // told to whoever writes
    child.stdout?.on('data', (data: Buffer) => {
      if (!this.push(data)) child.stdout?.pause()
    })
    // Its output is whole only if it says so itself.
    child.once('close', status => {
      if (status === 0) this.push(null)
      else if (!this.destroyed) fail(`it ended with status ${status}`)
    })
  }

  override _read(): void {
    this.#child.stdout?.resume()
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#child.stdin?.write(chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#child.stdin?.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#child.stdin?.destroy()
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
    try {
      if (this.#child.pid !== undefined && this.#child.exitCode === null) process.kill(-this.#child.pid, 'SIGKILL')
    } catch {} // the whole group has ended
    this.#child.unref()
    done(error)
  }

  // node:http treats what it is given as a socket.
  setKeepAlive(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setTimeout(): this {
    return this
  }
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }
}
