import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import type { HostView } from '../sys/host-view.ts'
import { DumpWatch, type EngineWork } from './dump-watch.ts'
import type { Finding } from './finding.ts'

const docker = 'github.com/docker/docker'
const transfer = `${docker}/distribution/xfer.(*transferManager).Transfer`
const pull = `${docker}/daemon/images.(*ImageService).PullImage`
const counts = (total: number, ...frames: string[]) =>
  [`goroutine profile: total ${total}`, ...frames.map(frame => `1 @ 0x1\n#\t0x1\t${frame}+0x1\t/f.go:1`)].join('\n\n')
const whole = (state: string, ...frames: string[]) =>
  frames.map(frame => `goroutine 7 [${state}]:\n${frame}(0xc0)\n\t/f.go:1 +0x1`).join('\n\n')

interface Dumps {
  readonly counts: string
  /** When they are asked for again. */
  readonly later?: string
  readonly whole: string
}

const engine = makeEngine(7, { sockets: ['/s'] })
const gone: EngineWork = { isWorking: false, isMoving: false }

/** @returns what is found, and for which detail the engine was asked */
async function visit(dumps: Dumps, work = gone): Promise<{ findings: Finding[]; asked: string[] }> {
  const asked: string[] = []
  const host = {
    elapsed: () => 0,
    network: {} as NonNullable<HostView['network']>,
    text: () => undefined,
    ask: (_: string, path: string) => {
      const detail = path.slice(-1)
      const known = asked.includes('1') ? (dumps.later ?? dumps.counts) : dumps.counts
      asked.push(detail)
      return Promise.resolve({ status: 200, body: detail === '1' ? known : dumps.whole })
    },
  } as Partial<HostView> as HostView
  const watch = new DumpWatch(host)
  watch.ask([engine])
  await watch.complete(() => work)
  return { findings: watch.judge(() => work), asked }
}

test('an earlier transfer is called stuck when it has been waited for as long as a minute, and not before', async () => {
  const poisoned = (state: string) => ({ counts: counts(70, transfer, pull), whole: whole(state, transfer, pull) })
  const severity = async (state: string, work?: EngineWork) => {
    const { findings } = await visit(poisoned(state), work)
    assert.deepEqual(
      findings.map(({ code }) => code),
      ['TRANSFER_POISONED'],
    )
    return findings[0]?.severity
  }
  assert.equal(await severity('chan receive'), 'note')
  assert.equal(await severity('chan receive, 1 minutes'), 'problem')
  assert.equal(await severity('chan receive, 606 minutes'), 'problem')
  // What stands still beside it is the cause, and is told itself.
  assert.equal(await severity('chan receive, 606 minutes', { isWorking: true, isMoving: false }), 'note')
})

test('for how long is told', async () => {
  const poisoned = { counts: counts(70, transfer), whole: whole('chan receive, 5 minutes', transfer) }
  const [found] = (await visit(poisoned)).findings
  assert.match(found?.evidence.join('\n') ?? '', /for 5 minutes at least/)
  assert.equal(found?.facts['poisonedMinutes'], 5)
})

test('each goroutine is asked for only where a pull does not move, and of no engine with very many', async () => {
  const asked = async (text: string, work: EngineWork) =>
    (await visit({ counts: text, whole: whole('select', pull) }, work)).asked
  const moving: EngineWork = { isWorking: true, isMoving: true }
  assert.deepEqual(await asked(counts(70), gone), ['1'])
  assert.deepEqual(await asked(counts(70, pull), moving), ['1'])
  assert.deepEqual(await asked(counts(70, pull), { ...moving, isUnclear: true }), ['1', '1'])
  assert.deepEqual(await asked(counts(70, pull), gone), ['1', '2'])
  assert.deepEqual(await asked(counts(70, pull), { isWorking: true, isMoving: false }), ['1', '2'])
  assert.deepEqual(await asked(counts(70, transfer), moving), ['1', '2'])
  assert.deepEqual(await asked(counts(10_001, transfer), gone), ['1'])
})

test('an engine that is not asked for how long accuses nobody', async () => {
  const { findings } = await visit({ counts: counts(20_000, transfer), whole: '' })
  assert.deepEqual(
    findings.map(({ severity }) => severity),
    ['note'],
  )
})

test('a pull that waits for an answer about its image for a minute and longer is told, whatever else goes on; one that waits for layers, for containerd or for its next try is not', async () => {
  const codes = async (state: string, frame: string, work = gone) => {
    const stack = `goroutine 7 [${state}]:\n${frame}(0xc0)\n\t/f.go:1 +0x1\n${pull}(0xc0)\n\t/f.go:1 +0x1`
    const { findings } = await visit({ counts: counts(70, pull), whole: stack }, work)
    return findings.map(({ code, severity }) => `${code} ${severity}`)
  }
  const request = 'net/http.(*Transport).roundTrip'
  const body = 'net/http.(*bodyEOFSignal).Read'
  const layers = `${docker}/distribution/xfer.(*LayerDownloadManager).Download`
  const busy = { isWorking: true, isMoving: false }
  assert.deepEqual(await codes('select', request), ['PULL_WAITS note'])
  assert.deepEqual(await codes('select, 3 minutes', request), ['PULL_UNANSWERED warning'])
  assert.deepEqual(await codes('select, 3 minutes', body), ['PULL_UNANSWERED warning'])
  assert.deepEqual(await codes('select, 3 minutes', request, busy), ['PULL_UNANSWERED warning'])
  for (const other of [layers, 'golang.org/x/sync/errgroup.(*Group).Wait', 'time.Sleep']) {
    assert.deepEqual(await codes('select, 3 minutes', other), ['PULL_WAITS note'])
    assert.deepEqual(await codes('select, 3 minutes', other, busy), [])
  }
})

test('beside pulls that move, each goroutine is asked for once, where one has no answer at first and none at last', async () => {
  const frames = ['net/http.(*Transport).roundTrip', `${docker}/distribution.(*v2Puller).pullSchema2Config`]
  const listed = frames.map(frame => `#\t0x1\t${frame}+0x1\t/f.go:1`)
  const waiting = ['goroutine profile: total 70', ['1 @ 0x1 0x2', ...listed].join('\n')].join('\n\n')
  const stack = frames.map(frame => `${frame}(0xc0)\n\t/f.go:1 +0x1`).join('\n')
  const visitWith = async (dumps: Pick<Dumps, 'counts' | 'later'>, state: string) => {
    const whole = `goroutine 7 [${state}]:\n${stack}`
    const { findings, asked } = await visit({ ...dumps, whole }, { isWorking: true, isMoving: true })
    return { codes: findings.map(({ code }) => code), asked }
  }
  const stuck = await visitWith({ counts: waiting }, 'select, 3 minutes')
  assert.deepEqual(stuck, { codes: ['PULL_UNANSWERED'], asked: ['1', '1', '2'] })
  const young = await visitWith({ counts: waiting }, 'select')
  assert.deepEqual(young, { codes: [], asked: ['1', '1', '2'] })
  const answered = await visitWith({ counts: waiting, later: counts(70, pull) }, 'select, 3 minutes')
  assert.deepEqual(answered, { codes: [], asked: ['1', '1'] })
  const begun = await visitWith({ counts: counts(70, pull), later: waiting }, 'select, 3 minutes')
  assert.deepEqual(begun, { codes: [], asked: ['1'] })
  const crowded = await visitWith({ counts: waiting.replace('total 70', 'total 10001') }, 'select, 3 minutes')
  assert.deepEqual(crowded, { codes: [], asked: ['1', '1'] })
})

test('an earlier transfer that is waited for hides no pull without an answer', async () => {
  const text = counts(70, transfer)
  const stacks = [
    [transfer, pull],
    ['net/http.(*Transport).roundTrip', pull],
  ].map(frames => `goroutine 7 [select, 3 minutes]:\n${frames.map(frame => `${frame}(0xc0)\n\t/f.go:1`).join('\n')}`)
  const { findings } = await visit({ counts: text, whole: stacks.join('\n\n') })
  assert.deepEqual(
    findings.map(({ code, facts }) => [code, facts['unanswered'] ?? facts['poisoned']]),
    [
      ['TRANSFER_POISONED', 1],
      ['PULL_UNANSWERED', 1],
    ],
  )
})
