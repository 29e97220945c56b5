import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { LiveHost } from '../../sys/host-view.ts'
import { readProcess } from '../../sys/tasks.ts'
import { readJournals } from '../cures/journal.ts'
import { pruneRescues } from './prune.ts'
import { findUnfinished, readBoot } from './unfinished.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-prune-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const host = new LiveHost()
const day = 24 * 60 * 60_000

interface Made {
  readonly number: number
  readonly daysAgo?: number
  readonly boot?: string
  readonly process?: object
  readonly more?: object
}

/** As an earlier windlass has left them. */
class Journals {
  readonly path: string
  constructor(name: string) {
    this.path = join(directory, name)
    mkdirSync(this.path)
  }

  make(id: string, { number, daysAgo = 1, boot = 'an earlier one', process = {}, more = {} }: Made): void {
    const time = new Date(Date.now() - daysAgo * day).toISOString()
    const begin = { step: 'begin', time, number, uptimeUs: number, boot, process, others: [], ...more }
    writeFileSync(join(this.path, `${id}.jsonl`), `${JSON.stringify(begin)}\n`)
    writeFileSync(join(this.path, `${id}.count`), '')
  }

  /** @returns what is left after it */
  prune(): string[] {
    pruneRescues(host, this.path)
    return readdirSync(this.path).sort()
  }
}

const files = (...ids: readonly string[]) => ids.flatMap(id => [`${id}.count`, `${id}.jsonl`]).sort()

test('of rescues the last two hundred of a month are kept, and all that was done to a host that can be taken back', () => {
  const journals = new Journals('many')
  const ids = Array.from({ length: 203 }, (_, at) => `rescue-202601010000${String(at).padStart(3, '0')}`)
  for (const [at, id] of ids.entries()) journals.make(id, { number: at + 1 })
  journals.make('shim-dockerd-20200101000000', { number: 0, daysAgo: 3000 })
  journals.make('orphan-20200101000000-2', { number: 300, daysAgo: 31 })
  journals.make('rescue-20200101000000', { number: 301, daysAgo: 31 })
  // The two that are too old are among the two hundred.
  assert.deepEqual(journals.prune(), files('shim-dockerd-20200101000000', ...ids.slice(5)))
})

test('what a rescue may have to go on with is kept, however old it is', () => {
  const journals = new Journals('needed')
  const { pid, startTicks } = readProcess(process.pid) as NonNullable<ReturnType<typeof readProcess>>
  const here = { number: 1, daysAgo: 400, boot: readBoot(host) }
  journals.make('rescue-1', { ...here, process: { pid, startTicks } })
  journals.make('rescue-2', { ...here, more: { others: [{ pid, startTicks }] } })
  journals.make('rescue-3', { ...here, process: { pid: 4_194_305, startTicks }, more: { pidNamespace: '1' } })
  journals.make('rescue-4', { ...here, process: { pid, startTicks: startTicks - 1 } })
  journals.make('rescue-5', { ...here, boot: 'an earlier one', process: { pid, startTicks } })
  assert.deepEqual(journals.prune(), files('rescue-1', 'rescue-2', 'rescue-3'))
  assert.notEqual(findUnfinished(host, { pid, startTicks }, readJournals(journals.path)), undefined)
})

test('what was never written to goes when nobody can be about to write it any more', () => {
  const journals = new Journals('empty')
  for (const id of ['rescue-1', 'rescue-2']) writeFileSync(join(journals.path, `${id}.jsonl`), '')
  const old = new Date(Date.now() - 31 * day)
  utimesSync(join(journals.path, 'rescue-1.jsonl'), old, old)
  assert.deepEqual(journals.prune(), ['rescue-2.jsonl'])
})

test('a directory that is not there is none of its business', () => {
  pruneRescues(host, join(directory, 'nowhere'))
})
