import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Verdict } from '../flow/blame.ts'
import type { TaskFacts } from '../sys/tasks.ts'
import type { DiskProgress } from './disk-watch.ts'
import { mayBeSlow, reasonOf } from './reason.ts'
import type { LineLook } from './sample.ts'

function makeTask(state: string, syscall: string | undefined): TaskFacts {
  const facts = { pid: 7, tid: 7, name: 'unpigz', wchan: undefined, fd: undefined, cpuTicks: 0 }
  return { ...facts, state, syscall, ioBytes: 0, switches: 0, isWithheld: false }
}

/** Four seconds of a decompressor that moved nothing, and burnt so many ticks of 10 ms. */
function makeLooks(tasks: readonly TaskFacts[], userTicks: number, systemTicks = 0, periodMs = 250): LineLook[] {
  return Array.from({ length: 17 }, (_, at) => ({
    sample: { timeMs: at * periodMs, stages: [] },
    decompressor: [
      {
        pid: 7,
        tasks,
        userTicks: Math.round((userTicks * at) / 16),
        systemTicks: Math.round((systemTicks * at) / 16),
        read: 0,
        written: 0,
      },
    ],
    untar: undefined,
    engine: undefined,
  }))
}

function verdictOf(kind: Verdict['kind'], wchan = ''): Verdict {
  return { stage: 'unpigz', kind, sinceMs: 4000, confidence: 'certain', evidence: [], facts: { wchan } }
}

const here = { isOutputClosed: false, disk: undefined }

function codeOf(tasks: readonly TaskFacts[], userTicks: number, systemTicks = 0): string | undefined {
  return reasonOf(verdictOf('stuck-decompressor'), makeLooks(tasks, userTicks, systemTicks), here)?.code
}

const running = makeTask('R', 'running')
const locked = makeTask('S', 'futex')

test('who burns processor time and moves nothing spins, however little of a busy processor it gets', () => {
  assert.equal(codeOf([running], 400), 'DECOMPRESSOR_SPINS')
  assert.equal(codeOf([running], 40), 'DECOMPRESSOR_SPINS')
  assert.equal(codeOf([running], 10, 300), 'DECOMPRESSOR_SPINS_IN_KERNEL')
})

test('who was stopped while it unpacked is the untar, or where there is none the engine', () => {
  const verdict: Verdict = { ...verdictOf('stopped'), facts: { stage: 'unpack' } }
  const alone = makeLooks([locked], 0)
  const [untar] = alone[0]?.decompressor ?? []
  assert.equal(reasonOf(verdict, alone, here)?.code, 'ENGINE_STOPPED')
  assert.equal(
    reasonOf(
      verdict,
      alone.map(look => ({ ...look, untar })),
      here,
    )?.code,
    'UNTAR_STOPPED',
  )
})

test('a watcher that was held up still counts all that was burnt meanwhile', () => {
  const looks = makeLooks([running], 40, 0, 5000)
  assert.equal(reasonOf(verdictOf('stuck-decompressor'), looks, here)?.code, 'DECOMPRESSOR_SPINS')
})

test('who is ready to run and gets no processor is not accused', () => {
  assert.equal(codeOf([running], 3), undefined)
})

test('threads that all wait for each other are deadlocked; who sleeps elsewhere is asleep', () => {
  assert.equal(codeOf([locked, locked, locked], 0), 'DECOMPRESSOR_DEADLOCKED')
  assert.equal(codeOf([locked, makeTask('S', 'nanosleep')], 0), 'DECOMPRESSOR_ASLEEP')
})

test('who waits for the server of a filesystem, also in state S, is told from one that sleeps by itself', () => {
  const waiting = { ...makeTask('S', 'openat'), wchan: 'request_wait_answer' }
  assert.equal(codeOf([waiting], 0), 'REMOTE_FILESYSTEM_WAIT')
  assert.equal(codeOf([locked, waiting], 0), 'REMOTE_FILESYSTEM_WAIT')
  assert.equal(codeOf([{ ...waiting, wchan: 'futex_wait_queue' }], 0), 'DECOMPRESSOR_ASLEEP')
})

const kinds: readonly (readonly [Verdict['kind'], string])[] = [
  ['silent-source', 'ENGINE_DOES_NOT_FEED'],
  ['trickling-source', 'ENGINE_DOES_NOT_FEED'],
  ['stuck-process', 'ENGINE_DOES_NOT_PASS_ON'],
  ['stuck-entry', 'ENGINE_DOES_NOT_UNPACK'],
  ['dribbling-decompressor', 'DECOMPRESSOR_DRIBBLES'],
  ['lost-wakeup', 'LOST_WAKEUP'],
  ['unexplained', 'PULL_UNEXPLAINED'],
]

test('what needs no threads to be told has a name for each verdict', () => {
  for (const [kind, code] of kinds) assert.equal(reasonOf(verdictOf(kind), makeLooks([], 0), here)?.code, code, kind)
})

/** Seconds of a process that unpacks, and of an engine that does. */
function unpackCode(tasks: readonly TaskFacts[], userTicks: number): string | undefined {
  const looks = makeLooks(tasks, userTicks).map(look => ({ ...look, untar: look.decompressor[0], decompressor: [] }))
  return reasonOf(verdictOf('stuck-entry'), looks, here)?.code
}

test('an untar that spins or sleeps is stuck; one that gets no processor is not accused', () => {
  assert.equal(unpackCode([running], 400), 'UNTAR_STUCK')
  assert.equal(unpackCode([locked, locked], 0), 'UNTAR_STUCK')
  assert.equal(unpackCode([running], 3), undefined)
})

test('an untar that works in the kernel may remove a directory: it is not accused', () => {
  const looks = (tasks: readonly TaskFacts[], system: number, user: number) =>
    makeLooks(tasks, user, system).map(look => ({ ...look, untar: look.decompressor[0], decompressor: [] }))
  const told = (tasks: readonly TaskFacts[], system: number, user: number) =>
    reasonOf(verdictOf('stuck-entry'), looks(tasks, system, user), here)?.code
  assert.equal(told([running], 300, 60), 'PULL_WAITS')
  assert.equal(told([running], 60, 300), 'UNTAR_STUCK')
  // It slept at all looks: what it used was no work on this.
  assert.equal(told([locked], 30, 10), 'UNTAR_STUCK')
})

/** Seconds of an engine. */
function engineCode(kind: Verdict['kind'], tasks: readonly TaskFacts[], system: number, user = 0): string | undefined {
  const looks = makeLooks(tasks, user, system).map(look => ({
    ...look,
    engine: look.decompressor[0],
    decompressor: [],
  }))
  return reasonOf(verdictOf(kind), looks, here)?.code
}

test('an engine that wants to run and gets no processor is not accused, and one that sleeps or runs is', () => {
  for (const [kind, code] of kinds.filter(([, code]) => code.startsWith('ENGINE_'))) {
    assert.equal(engineCode(kind, [locked, running], 3), undefined, code)
    assert.equal(engineCode(kind, [locked, locked], 3), code)
    assert.equal(engineCode(kind, [locked, running], 20, 60), code)
  }
  // A thread of it removes a directory.
  assert.equal(engineCode('stuck-entry', [locked, running], 300, 60), 'PULL_WAITS')
  // Many do something else, each now and then.
  const looks = makeLooks([locked], 60, 300).map((look, at) => {
    const [engine] = look.decompressor.map(one => ({ ...one, tasks: [locked, { ...running, tid: 100 + at }] }))
    return { ...look, engine, decompressor: [] }
  })
  assert.equal(reasonOf(verdictOf('stuck-entry'), looks, here)?.code, 'ENGINE_DOES_NOT_UNPACK')
})

interface Wait {
  readonly wchan?: string
  readonly syscall?: string
  readonly sinceMs?: number
  readonly disk?: Pick<DiskProgress, 'answered' | 'pending'>
}

/** What is said of a task that the kernel holds: `CODE confidence severity`, the last two where they are not as usual. */
function told({ wchan, syscall = 'read', sinceMs = 7000, disk }: Wait): string {
  const facts = wchan === undefined ? { syscall } : { wchan, syscall }
  const verdict: Verdict = { ...verdictOf('disk-wait'), sinceMs, facts }
  const progress = disk && { ...disk, name: 'vda1', ms: sinceMs }
  const reason = reasonOf(verdict, [], { isOutputClosed: false, disk: progress })
  return [reason?.code, reason?.confidence, reason?.severity].filter(word => word !== undefined).join(' ')
}

const dead = { answered: 0, pending: 3 }
const busy = { answered: 1, pending: 30 }

const waits: readonly (readonly [string, Wait, string])[] = [
  ['a frozen filesystem', { wchan: '__sb_start_write' }, 'FILESYSTEM_FROZEN'],
  ['the lock of one, in a write', { wchan: 'percpu_rwsem_wait', syscall: 'openat' }, 'FILESYSTEM_FROZEN'],
  ['that kind of lock, in another call', { wchan: 'percpu_rwsem_wait', syscall: '56' }, 'FILESYSTEM_FROZEN likely'],
  ['an agent', { wchan: 'fanotify_get_response', disk: busy }, 'FANOTIFY_WAIT'],
  ['memory', { wchan: 'mem_cgroup_oom_synchronize' }, 'MEMORY_LIMIT'],
  ['a freezer', { wchan: '__refrigerator' }, 'CGROUP_FROZEN'],
  ['a server', { wchan: 'rpc_wait_bit_killable' }, 'REMOTE_FILESYSTEM_WAIT likely'],
  ['a disk that answers nobody', { wchan: 'io_schedule', disk: dead }, 'DISK_WAIT likely'],
  ['the same, since a moment', { wchan: 'io_schedule', sinceMs: 5750, disk: dead }, 'PULL_WAITS note'],
  ['a disk that answers others', { wchan: 'io_schedule', disk: busy }, 'DISK_BUSY'],
  ['a journal on a disk that answers nobody', { wchan: 'jbd2_log_wait_commit', disk: dead }, 'DISK_WAIT likely'],
  ['a journal on a disk that answers others', { wchan: 'jbd2_log_wait_commit', disk: busy }, 'DISK_BUSY'],
  ['a journal, since 5.75 s', { wchan: 'jbd2_log_wait_commit', sinceMs: 5750 }, 'PULL_WAITS note'],
  ['a journal on a disk that cannot be seen', { wchan: 'xlog_wait' }, 'DISK_WAIT unknown warning'],
  ['a lock of anybody', { wchan: 'rwsem_down_read_slowpath', disk: dead }, 'KERNEL_WAIT unknown'],
  ['a lock, while the disk answers', { wchan: 'rwsem_down_read_slowpath', disk: busy }, 'KERNEL_WAIT unknown note'],
  ['what no kernel shows', {}, 'KERNEL_WAIT unknown'],
]

for (const [name, wait, wanted] of waits)
  test(`who waits in the kernel for ${name}: ${wanted}`, () => assert.equal(told(wait), wanted))

test('who may only be slow is looked at longer', () => {
  const slow = (wchan: string) => mayBeSlow({ ...verdictOf('disk-wait'), facts: { wchan } })
  assert.deepEqual(['io_schedule', 'jbd2_log_wait_commit', 'mutex_lock', ''].map(slow), [true, true, true, true])
  assert.deepEqual(['fanotify_get_response', 'percpu_rwsem_wait'].map(slow), [false, false])
  assert.equal(mayBeSlow(verdictOf('stuck-decompressor', 'io_schedule')), false)
})

test('an unknown place is named, and nothing else is said of it', () => {
  const verdict: Verdict = { ...verdictOf('disk-wait'), facts: { wchan: 'some_lock' } }
  assert.equal(reasonOf(verdict, [], here)?.evidence[0], 'it waits in the kernel in some_lock (unknown)')
})
