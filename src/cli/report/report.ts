import type { Context } from '../command.ts'
import { formatFailure, toWindlassError } from '../failure.ts'
import { ReportFile } from './file.ts'
import { readHostFacts } from './host.ts'
import { renderPage } from './page.ts'
import { type PullRecorder, ReportRecord } from './record.ts'

/** `--report FILE`: keeps what the pulls of one command tell, and writes it down. */
export interface PullReport {
  /** Records one more pull. */
  openPull(reference: string): PullRecorder
  /**
   * Writes the report. If that fails, and nothing else had, it is thrown; else it is told, and the first failure counts.
   * @returns the exit status that is given
   */
  close(status: number): Promise<number>
}

/**
 * Opens the report. It is written at the end, and also as soon as a stage stalls or the run is cancelled: who has to kill a pull that
 * hangs needs it most.
 * @throws WindlassError if the file cannot be written
 */
export async function openReport(
  { signal, stderr, json, logLevel }: Pick<Context, 'signal' | 'stderr' | 'json' | 'logLevel'>,
  path: string,
  command: readonly string[],
): Promise<PullReport> {
  const file = await ReportFile.open(path, renderPage)
  const record = new ReportRecord(formatWords(command), readHostFacts())
  // What goes wrong here does so again at the end, and is told there.
  const writeEarly = () => file.write(record.snapshot()).catch(() => {})
  let isWriting = false
  const writeStall = () => {
    if (isWriting) return
    isWriting = true
    void writeEarly().finally(() => {
      isWriting = false
    })
  }
  const cancel = () => {
    record.failOpen(toWindlassError(signal.reason))
    void writeEarly()
  }
  signal.addEventListener('abort', cancel, { once: true })
  return {
    openPull: reference => record.openPull(reference, { onStall: writeStall }),
    async close(status) {
      signal.removeEventListener('abort', cancel)
      try {
        await file.write(record.snapshot())
      } catch (thrown) {
        if (status === 0) throw thrown
        stderr.write(formatFailure(toWindlassError(thrown), { json, debug: logLevel === 'debug' }))
      } finally {
        await file.close()
      }
      return status
    },
  }
}

/** The command line that would do the same, one word each. */
export function formatCommand(
  name: string,
  options: Readonly<Record<string, boolean | number | string | readonly string[] | undefined>>,
  operands: readonly string[],
): string[] {
  const words = Object.entries(options).flatMap(([option, value]) => {
    if (value === undefined || value === false) return []
    if (value === true) return [`--${option}`]
    return (typeof value === 'object' ? value : [value]).flatMap(one => [`--${option}`, String(one)])
  })
  return ['windlass', name, ...words, ...operands]
}

/** A command line as a shell takes it. */
export function formatWords(words: readonly string[]): string {
  return words.map(quoteWord).join(' ')
}

function quoteWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
