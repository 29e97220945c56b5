import { statSync } from 'node:fs'
import type { WindlassError } from '../../errors.ts'
import { within } from '../../sys/processes.ts'
import { ReportFile } from './file.ts'
import { readHostFacts } from './host.ts'
import { renderPage } from './page.ts'
import { ReportRecord } from './record.ts'
import { formatWords } from './report.ts'

/** What is needed for a report when nothing else can be asked for any more. */
export interface LastReport {
  readonly path: string
  readonly command: readonly string[]
  readonly references: readonly string[]
  /** When the run began, as `Date.now()` gives it. */
  readonly startedAt: number
}

/** The disk of the report may be the one that does not answer. */
const lastMs = 3000

/**
 * Writes a report from beside a main thread that does not come back: that its pulls failed, and of what. One that the run has written before, of a
 * stall, tells more, and stays. Never throws; takes a bounded time.
 */
export async function writeLastReport(last: LastReport, error: WindlassError): Promise<void> {
  const written = statSync(last.path, { throwIfNoEntry: false })
  if (written !== undefined && written.mtimeMs >= last.startedAt) return
  const record = new ReportRecord(formatWords(last.command), readHostFacts())
  for (const reference of last.references) record.openPull(reference)
  record.failOpen(error)
  const write = async (): Promise<void> => {
    const file = await ReportFile.open(last.path, renderPage)
    await file.write(record.snapshot())
  }
  await within(
    write().catch(() => {}),
    lastMs,
  )
}
