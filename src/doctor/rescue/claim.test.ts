import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LiveHost } from '../../sys/host-view.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import { formatWritten } from '../../sys/written-count.ts'
import { Journal, readJournals } from '../cures/journal.ts'
import { Claim, readClaimed } from './claim.ts'
import { letGoOfLeft } from './let-go.ts'
import { Refusal } from './refusal.ts'
import { checkStoodStill, findUnfinished, readBoot } from './unfinished.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-claim-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const host = new LiveHost()
/** A process that is there as long as the test. */
const subject = readProcess(process.pid) as ProcessFacts

test('a process is rescued by one at a time; another process at the same time', () => {
  const claims = join(directory, 'one')
  {
    using _first = Claim.take(claims, subject, '/a')
    const isUnderWay = (error: unknown) => error instanceof Refusal && error.code === 'RESCUE_UNDER_WAY'
    assert.throws(() => Claim.take(claims, subject, '/b'), isUnderWay)
    using _other = Claim.take(claims, { ...subject, startTicks: 35 }, '/b')
  }
  assert.deepEqual(readdirSync(claims), []) // to neither anything was done
  using _second = Claim.take(claims, subject, '/b')
})

test('a claim of something that was refused after all goes, unless somebody before has done something', () => {
  const claims = join(directory, 'spared')
  for (const left of [0, 1]) {
    {
      using claim = Claim.take(claims, subject, '/a')
      claim.keep()
      claim.spare()
    }
    assert.equal(readdirSync(claims).length, left)
    using before = Claim.take(claims, subject, '/b')
    before.keep()
  }
})

test('whoever comes later knows where those before keep their journals', () => {
  const claims = join(directory, 'two')
  for (const journals of ['/a', '/b', '/a']) {
    using claim = Claim.take(claims, subject, journals)
    claim.keep()
  }
  {
    using _refused = Claim.take(claims, subject, '/b') // nothing was done
  }
  assert.deepEqual(readClaimed(claims, subject, '/c'), ['/a', '/b', '/c'])
  {
    using claim = Claim.take(claims, subject, '/b')
    assert.deepEqual(claim.journalDirectories, ['/a', '/b'])
    claim.forget()
  }
  assert.deepEqual(readClaimed(claims, subject, '/c'), ['/c'])
})

test('what a rescue that died has left is taken away when its process has ended, unless somebody waits for it still', () => {
  const claims = join(directory, 'swept')
  const { pid, startTicks } = subject
  {
    using kept = Claim.take(claims, subject, '/a')
    kept.keep()
  }
  const [own = ''] = readdirSync(claims)
  using _waiting = Claim.take(claims, { pid, startTicks: startTicks + 1 }, '/a') // its process has left meanwhile
  const [waits = ''] = readdirSync(claims).filter(name => name !== own)
  const gone = own.replace(/\d+$/, '7')
  const elsewhere = gone.replace(/-\d+-/, '-1-') // of another PID namespace: nothing is known of its process
  for (const name of [gone, elsewhere]) writeFileSync(join(claims, name), '/a\n')
  {
    using _next = Claim.take(claims, { pid: process.ppid, startTicks: 1 }, '/b')
  }
  assert.deepEqual(readdirSync(claims).sort(), [own, waits, elsewhere].sort())
})

test('where claims cannot be written, they are beside the journals', () => {
  writeFileSync(join(directory, 'file'), '')
  const journals = join(directory, 'journals')
  using _claim = Claim.take(join(directory, 'file', 'below'), subject, journals)
  assert.match(readdirSync(journals).join(), new RegExp(`^rescue-\\d+-${subject.pid}-${subject.startTicks}$`))
})

/** The journal of a rescue that was broken off, with what its writer left in the file of its count. */
function brokenOff(name: string, count: string | undefined, position = 1000): string {
  const journals = join(directory, name)
  using journal = new Journal(journals, 'rescue')
  journal.write('begin', {
    boot: readBoot(host),
    process: subject,
    others: [{ pid: 13, startTicks: 2 }],
    layer: { name: 'layer', total: 5000 },
  })
  journal.write('held', { wereStopped: [13], given: { writer: 13, bytes: 300 } })
  const countFile = journal.pathOf('count')
  if (count !== undefined) writeFileSync(countFile, count)
  journal.write('write', { position, countFile })
  return journals
}

test('a rescue that wrote goes on behind what it wrote, and one that wrote nothing begins anew', () => {
  const positionAfter = (journals: string) => findUnfinished(host, subject, readJournals(journals))?.position
  assert.equal(positionAfter(brokenOff('wrote', formatWritten(77, 'done'))), 1077)
  assert.equal(positionAfter(brokenOff('nothing', formatWritten(0, 'done'))), undefined)
  assert.equal(positionAfter(brokenOff('no-count', undefined)), undefined)
  const twice = brokenOff('twice', formatWritten(77, 'done'))
  brokenOff('twice', formatWritten(0, 'done'), 1077)
  assert.equal(positionAfter(twice), 1077)
})

test('a mark on the output is explained by a rescue of which it is known how far it came, and by no other', () => {
  const hasMarked = (journals: string) => findUnfinished(host, subject, readJournals(journals))?.hasMarked
  assert.equal(hasMarked(brokenOff('marked', formatWritten(77, 'done'))), true)
  assert.equal(hasMarked(brokenOff('marked-alone', formatWritten(0, 'done'))), true)
  assert.equal(hasMarked(brokenOff('marked-uncounted', undefined)), false)
  brokenOff('marked', undefined, 1077)
  assert.equal(hasMarked(join(directory, 'marked')), false)
  {
    using journal = new Journal(join(directory, 'held'), 'rescue')
    journal.write('begin', { boot: readBoot(host), process: subject })
    journal.write('held')
  }
  assert.equal(hasMarked(join(directory, 'held')), false)
})

test('whoever came furthest says where the next one goes on, also where three attempts had two homes for their journals', () => {
  const claims = join(directory, 'a-b-a')
  const take = (journals: string) => {
    using claim = Claim.take(claims, subject, journals)
    claim.keep()
    return findUnfinished(host, subject, claim.journalDirectories.flatMap(readJournals))?.position
  }
  const a = join(directory, 'home-a')
  const b = join(directory, 'home-b')
  assert.equal(take(a), undefined)
  brokenOff('home-a', formatWritten(100, 'done'), 100)
  assert.equal(take(b), 200)
  brokenOff('home-b', formatWritten(300, 'done'), 200)
  assert.equal(take(a), 500)
  brokenOff('home-a', formatWritten(50, 'done'), 100) // as if a clock had been set back
  assert.equal(take(b), 500)
})

test('the last of several homes is told by a clock that nobody sets', t => {
  const attempt = (name: string, now: string, isLetGo: boolean) => {
    t.mock.timers.reset()
    t.mock.timers.enable({ apis: ['Date'], now: new Date(now) })
    using journal = new Journal(join(directory, name), 'rescue')
    journal.write('begin', { boot: readBoot(host), process: subject, others: [], wereStopped: [] })
    if (isLetGo) journal.write('let-go')
  }
  attempt('clock-a', '2030-01-01', true)
  attempt('clock-b', '2020-01-01', false)
  const homes = ['clock-b', 'clock-a'].flatMap(name => readJournals(join(directory, name)))
  assert.equal(findUnfinished(host, subject, homes)?.leftStopped.size, 1)
})

test('a rescue that owed nothing has written all as soon as it says so', () => {
  const journals = join(directory, 'owes-nothing')
  using journal = new Journal(journals, 'rescue')
  const layer = { name: 'layer', total: 5000 }
  journal.write('begin', { boot: readBoot(host), process: subject, others: [], layer, position: 5000 })
  journal.write('held', { wereStopped: [] })
  assert.equal(findUnfinished(host, subject, readJournals(journals))?.written, undefined)
  journal.write('written', { bytes: 0 })
  assert.deepEqual(findUnfinished(host, subject, readJournals(journals))?.written, layer)
})

test('of a layer that was written to its end nothing is wanted any more', () => {
  const written = (count: string) =>
    findUnfinished(host, subject, readJournals(brokenOff(`all-${count.trim()}`, count)))?.written
  assert.equal(written(formatWritten(77, 'done')), undefined)
  assert.deepEqual(written(formatWritten(4000, 'done')), { name: 'layer', total: 5000 })
})

test('a process that has written itself since bytes were written in its place is refused', () => {
  const journals = brokenOff('wrote-itself', formatWritten(77, 'done'))
  const found = findUnfinished(host, subject, readJournals(journals))
  const given = { writer: 13, bytes: 300 }
  assert.deepEqual(found?.given, given)
  checkStoodStill(found, given)
  checkStoodStill(found, { writer: 14, bytes: 0 }) // who gave it was ended, and its parent is left
  const isUnproven = (error: unknown) => error instanceof Refusal && error.code === 'RESCUE_POSITION_UNPROVEN'
  assert.throws(() => checkStoodStill(found, { ...given, bytes: 301 }), isUnproven)
  const wroteNothing = findUnfinished(host, subject, readJournals(brokenOff('wrote-none', formatWritten(0, 'done'))))
  checkStoodStill(wroteNothing, { ...given, bytes: 301 })
  checkStoodStill(undefined, { ...given, bytes: 301 })
})

test('what was let go is not taken for what a dead rescue has stopped', () => {
  const leftStopped = (journals: string) => findUnfinished(host, subject, readJournals(journals))?.leftStopped
  const journals = brokenOff('let-go', undefined)
  const [record] = readJournals(journals)
  assert.deepEqual(leftStopped(journals), new Map([[subject.pid, subject.startTicks]]))
  using journal = Journal.reopen(journals, record?.id ?? '')
  journal.write('let-go')
  assert.deepEqual(leftStopped(journals), new Map())
})

test('a rescue that died between the first stop and the word of it has stopped what it had not found standing', () => {
  const journals = join(directory, 'stopping')
  using journal = new Journal(journals, 'rescue')
  const others = [{ pid: 13, startTicks: 2 }]
  journal.write('begin', { boot: readBoot(host), process: subject, others, wereStopped: [13] })
  const found = findUnfinished(host, subject, readJournals(journals))
  assert.deepEqual(found?.leftStopped, new Map([[subject.pid, subject.startTicks]]))
})

test('who was let go by a later rescue is stopped by somebody else, if it stands again', async () => {
  const journals = brokenOff('stands', undefined)
  await sleep(2)
  const last = new Journal(journals, 'rescue')
  last.write('begin', { boot: readBoot(host), process: subject, others: [], wereStopped: [] })
  last.write('let-go')
  last[Symbol.dispose]()
  assert.deepEqual(findUnfinished(host, subject, readJournals(journals))?.leftStopped, new Map())
})

test('what a dead rescue has left stopped goes on when the next one is refused, once, and only if nothing was written', async () => {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' })
  try {
    const waited = readProcess(child.pid as number) as ProcessFacts
    const { pid, startTicks } = waited
    const stop = async () => {
      process.kill(pid, 'SIGSTOP')
      while (readProcess(pid)?.state !== 'T') await sleep(5)
    }
    const journalDirectory = join(directory, 'goes-on')
    const letGo = (position: number | undefined, ticks = startTicks) => {
      const leftStopped = new Map([[pid, ticks]])
      letGoOfLeft(host, {
        unfinished: { position, layer: undefined, written: undefined, hasMarked: false, given: undefined, leftStopped },
        waited,
        journalDirectory,
      })
      return readProcess(pid)?.state
    }
    await stop()
    assert.equal(letGo(1), 'T')
    assert.equal(letGo(undefined, startTicks + 1), 'T')
    assert.deepEqual(readJournals(journalDirectory), [])
    assert.notEqual(letGo(undefined), 'T')
    assert.deepEqual(findUnfinished(host, waited, readJournals(journalDirectory))?.leftStopped, new Map())
  } finally {
    child.kill('SIGKILL')
  }
})
