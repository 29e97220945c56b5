import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { healthyStory, recordStories } from '../../../test/report-recordings.ts'
import { isWindlassError } from '../../errors.ts'
import { ReportFile } from './file.ts'
import { renderPage } from './page.ts'
import { formatCommand, openReport } from './report.ts'

let directory: string

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-report-'))
})
after(() => rm(directory, { recursive: true, force: true }))

test('the ending of the name chooses the form', async () => {
  const report = recordStories([healthyStory]).snapshot()
  for (const name of ['a.json', 'b.HTML']) {
    const file = await ReportFile.open(join(directory, name), renderPage)
    await file.write(report)
    await file.close()
  }
  assert.deepEqual(JSON.parse(await readFile(join(directory, 'a.json'), 'utf8')), report)
  assert.match(await readFile(join(directory, 'b.HTML'), 'utf8'), /^<!doctype html>/)
  assert.deepEqual((await readdir(directory)).sort(), ['a.json', 'b.HTML'])
})

test('what cannot become a report is refused before there is one', async () => {
  await writeFile(join(directory, 'plain'), '')
  for (const [path, wanted] of [
    ['report.txt', /--report .*report\.txt: wanted a file name that ends in \.html or \.json$/],
    ['report', /ends in \.html or \.json$/],
    ['none/report.html', /none is no directory; wanted one that exists$/],
    ['plain/report.html', /plain is no directory; wanted one that exists$/],
  ] as const) {
    await assert.rejects(ReportFile.open(join(directory, path), renderPage), error => {
      assert.ok(isWindlassError(error, 'USAGE'), String(error))
      assert.match(error.message, wanted)
      return true
    })
  }
})

test('the newest report wins, and what cannot be written is told', async () => {
  const place = await mkdtemp(join(directory, 'gone-'))
  const path = join(place, 'x.json')
  const file = await ReportFile.open(path, renderPage)
  const report = recordStories([healthyStory]).snapshot()
  const writes = [1, 2, 3].map(number => file.write({ ...report, command: `number ${number}` }))
  await Promise.all(writes)
  assert.match(await readFile(path, 'utf8'), /number 3/)
  await rm(path)
  await mkdir(path)
  await assert.rejects(file.write(report), /^WindlassError: Cannot write the report to .*x\.json: EISDIR/)
  assert.deepEqual(await readdir(place), ['x.json'])
  await rm(place, { recursive: true })
  await assert.rejects(file.write(report), /^WindlassError: Cannot write the report to .*x\.json: ENOENT/)
  await file.close()
})

test('a report is written at the first stall and when the run is cancelled, not only at the end', async () => {
  const path = join(directory, 'early.json')
  const abort = new AbortController()
  const stderr = { write: () => true }
  const report = await openReport({ signal: abort.signal, stderr, json: false, logLevel: 'info' }, path, ['windlass'])
  const pull = report.openPull('app')
  const read = async () => JSON.parse(await readFile(path, 'utf8').catch(() => '{}'))
  const waitFor = async (probe: (text: string) => boolean) => {
    for (let tries = 0; tries < 200; tries++) {
      if (probe(JSON.stringify(await read()))) return
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    assert.fail('no report in time')
  }
  const facts = { stage: 'unpack', kind: 'stuck-entry', confidence: 'certain', sinceMs: 1, evidence: ['e'] } as const
  pull.handle({ type: 'stall', layer: 0, atMs: 2, ...facts })
  await waitFor(text => text.includes('stuck-entry'))
  abort.abort()
  await waitFor(text => text.includes('"cancelled"'))
  assert.equal(await report.close(130), 130)
})

test('a report that cannot be written fails a command that went well, and is told after one that failed', async () => {
  for (const status of [0, 4]) {
    const place = await mkdtemp(join(directory, 'lost-'))
    const told: string[] = []
    const stderr = { write: (text: string) => told.push(text) > 0 }
    const { signal } = new AbortController()
    const context = { signal, stderr, json: false, logLevel: 'info' } as const
    const report = await openReport(context, join(place, 'x.html'), ['windlass'])
    await rm(place, { recursive: true })
    if (status === 0) await assert.rejects(report.close(status), /Cannot write the report/)
    else assert.equal(await report.close(status), status)
    assert.equal(told.length, status === 0 ? 0 : 1)
  }
})

test('the command of a report can be given to a shell', async () => {
  const options = { platform: 'linux/arm64', layers: 2, mirror: ['a:5000', "b'c"], quiet: false, into: undefined }
  assert.deepEqual(formatCommand('pull', options, ['x:1']), [
    ...['windlass', 'pull', '--platform', 'linux/arm64', '--layers', '2', '--mirror', 'a:5000', '--mirror', "b'c"],
    'x:1',
  ])
})
