import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LiveHost } from '../../sys/host-view.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import { Journal } from '../cures/journal.ts'
import { Claim } from './claim.ts'
import { endOrphans } from './orphans.ts'
import { readBoot } from './unfinished.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-orphans-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const host = new LiveHost()

/** No child of ours: whoever traces its own child takes the news of its end away from Node. */
function startSleeper(): ProcessFacts {
  const pid = execFileSync('sh', ['-c', 'sleep 1000 >/dev/null 2>&1 & echo $!'], { encoding: 'utf8' })
  return readProcess(Number(pid)) as ProcessFacts
}

function isRunning({ pid, startTicks }: ProcessFacts): boolean {
  const now = readProcess(pid)
  return now?.startTicks === startTicks && now.state !== 'Z'
}

/** A stopped process that a rescue has left so, with what it had started. @returns what became of both */
async function leave(name: string, engine: { pid: number; startTicks: number }, step: string, stoppedBefore = false) {
  const claims = join(directory, name, 'claims')
  const journals = join(directory, name, 'journals')
  const both = [startSleeper(), startSleeper()]
  const [waited, other] = both as [ProcessFacts, ProcessFacts]
  try {
    for (const { pid } of both) {
      process.kill(pid, 'SIGSTOP')
      while (readProcess(pid)?.state !== 'T') await sleep(5)
    }
    {
      using claim = Claim.take(claims, waited, journals)
      claim.keep()
      using journal = new Journal(journals, 'rescue')
      const wereStopped = stoppedBefore ? [waited.pid, other.pid] : []
      journal.write('begin', { boot: readBoot(host), process: waited, others: [other], engine, wereStopped })
      journal.write(step, { wereStopped })
    }
    const ended = await endOrphans(host, { claims, journals })
    assert.deepEqual(await endOrphans(host, { claims, journals }), [])
    assert.equal(readdirSync(claims).length, 1 - ended.length)
    while (ended.length > 0 && both.some(({ pid }) => readProcess(pid)?.state === 'T')) await sleep(5)
    return both.map(one => (!isRunning(one) ? 'ended' : readProcess(one.pid)?.state === 'T' ? 'stands' : 'goes on'))
  } finally {
    for (const one of both) if (isRunning(one)) process.kill(one.pid, 'SIGKILL')
  }
}

test('what a rescue has left stopped is ended, with what it has started, when its engine is gone; and not before', async () => {
  const ours = readProcess(process.pid) as ProcessFacts
  const gone = { ...ours, startTicks: ours.startTicks + 1 }
  assert.deepEqual(await leave('gone', gone, 'write'), ['ended', 'ended'])
  assert.deepEqual(await leave('there', ours, 'write'), ['stands', 'stands'])
})

test('where nothing was written it goes on, unless somebody else had stopped it', async () => {
  const ours = readProcess(process.pid) as ProcessFacts
  const gone = { ...ours, startTicks: ours.startTicks + 1 }
  for (const step of ['began', 'held']) {
    assert.deepEqual(await leave(`untouched-${step}`, gone, step), ['goes on', 'goes on'])
    assert.deepEqual(await leave(`by-others-${step}`, gone, step, true), ['stands', 'stands'])
    assert.deepEqual(await leave(`there-${step}`, ours, step), ['stands', 'stands'])
  }
})
