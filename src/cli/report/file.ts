import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { dirname, extname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WindlassError, wrapError, wrapFileError } from '../../errors.ts'
import { PipedProcess } from '../../sys/processes.ts'
import type { WriteAnswer, WriteOrder } from './write-process.ts'

/** A healthy disk takes a report in milliseconds; one that does not must not hold the end of the run. */
const writeMsDefault = 5000

/** Beside this file, as source or compiled. */
const program = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './write-process.ts' : './write-process.js', import.meta.url),
)

/** The file of a report: whole or not there, at every moment. Close it. */
export class ReportFile<Content> {
  readonly #path: string
  readonly #format: (report: Content) => string
  readonly #writer = new PipedProcess(process.execPath, [program])
  readonly #waiting = new Map<number, (answer: WriteAnswer['failure']) => void>()
  readonly #writeMs: number
  #id = 0
  #last: Promise<void> = Promise.resolve()

  private constructor(path: string, format: (report: Content) => string, writeMs: number) {
    this.#path = path
    this.#format = format
    this.#writeMs = writeMs
    // Without its answers, what is written counts as late.
    this.#listen().catch(() => {})
  }

  /**
   * Checks that the file can be written, before there is something to report.
   * @param renderHtml how it looks where the name ends in .html; in .json it is what it is
   * @throws WindlassError USAGE for another ending than .html and .json, and where no file can be; PERMISSION
   */
  static async open<Content>(
    path: string,
    renderHtml: (report: Content) => string,
    writeMs = writeMsDefault,
  ): Promise<ReportFile<Content>> {
    const formats: Readonly<Record<string, (report: Content) => string>> = {
      '.html': renderHtml,
      '.json': report => `${JSON.stringify(report, undefined, 1)}\n`,
    }
    const format = formats[extname(path).toLowerCase()]
    if (format === undefined) {
      throw new WindlassError(
        'USAGE',
        `Cannot use option --report ${path}: wanted a file name that ends in .html or .json`,
      )
    }
    const absolute = resolve(path)
    await checkPlace(absolute, `Cannot write the report to ${absolute}`)
    return new ReportFile(absolute, format, writeMs)
  }

  /** Writes what is known by now, after what is being written. @throws WindlassError */
  write(report: Content): Promise<void> {
    const text = this.#format(report)
    // A failure is told to the one whose report it was.
    this.#last = this.#last.catch(() => {}).then(() => this.#hand(text))
    return this.#last
  }

  /** Lets the writer go. If it hangs it stays behind: it can be ended by nobody. */
  async close(): Promise<void> {
    await this.#writer[Symbol.asyncDispose]()
  }

  async #hand(text: string): Promise<void> {
    const doing = `Cannot write the report to ${this.#path}`
    const failure = await this.#exchange(text).catch(error => Promise.reject(wrapFileError(error, doing)))
    if (failure !== undefined) throw wrapFileError(failure, doing)
  }

  async #exchange(text: string): Promise<WriteAnswer['failure']> {
    const order: WriteOrder = { id: ++this.#id, path: this.#path, text }
    const { promise, resolve, reject } = Promise.withResolvers<WriteAnswer['failure']>()
    const timer = setTimeout(reject, this.#writeMs, new Error(`the disk has not taken it within ${this.#writeMs} ms`))
    this.#waiting.set(order.id, resolve)
    try {
      this.#writer.stdin.write(Buffer.from(`${JSON.stringify(order)}\n`)).catch(reject)
      return await promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(order.id)
    }
  }

  /** An earlier report, given up as late, may still be answered for: then nobody waits for the answer. */
  async #listen(): Promise<void> {
    const { stdout, stderr } = this.#writer
    const decoder = new TextDecoder()
    let rest = ''
    for (let chunk = await stdout.next(); chunk !== undefined; chunk = await stdout.next()) {
      const lines = `${rest}${decoder.decode(chunk, { stream: true })}`.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const { id, failure } = JSON.parse(line) as WriteAnswer
        this.#waiting.get(id)?.(failure)
      }
    }
    const message = `its writer has ended: ${stderr.trim()}`
    for (const answer of this.#waiting.values()) answer({ message })
  }
}

/** Whether a file can be written there, before there is something to write. @throws WindlassError USAGE, PERMISSION */
export async function checkPlace(path: string, doing: string): Promise<void> {
  const directory = dirname(path)
  const isDirectory = (at: string) =>
    stat(at).then(
      facts => facts.isDirectory(),
      () => false,
    )
  if (await isDirectory(path)) throw new WindlassError('USAGE', `${doing}: it is a directory; wanted a file`)
  if (!(await isDirectory(directory))) {
    throw new WindlassError('USAGE', `${doing}: ${directory} is no directory; wanted one that exists`)
  }
  await access(directory, constants.W_OK | constants.X_OK).catch(error => Promise.reject(wrapError(error, doing)))
}
