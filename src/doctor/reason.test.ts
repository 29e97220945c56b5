import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Verdict } from '../flow/blame.ts'
import type { TaskFacts } from '../sys/tasks.ts'
import { reasonOf } from './reason.ts'
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

function codeOf(tasks: readonly TaskFacts[], userTicks: number, systemTicks = 0): string | undefined {
  return reasonOf(verdictOf('stuck-decompressor'), makeLooks(tasks, userTicks, systemTicks), false)?.code
}

const running = makeTask('R', 'running')
const locked = makeTask('S', 'futex')

test('who burns processor time and moves nothing spins, however little of a busy processor it gets', () => {
  assert.equal(codeOf([running], 400), 'DECOMPRESSOR_SPINS')
  assert.equal(codeOf([running], 40), 'DECOMPRESSOR_SPINS')
  assert.equal(codeOf([running], 10, 300), 'DECOMPRESSOR_SPINS_IN_KERNEL')
})

test('a watcher that was held up still counts all that was burnt meanwhile', () => {
  const looks = makeLooks([running], 40, 0, 5000)
  assert.equal(reasonOf(verdictOf('stuck-decompressor'), looks, false)?.code, 'DECOMPRESSOR_SPINS')
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

test('the wait channel tells what a task in the kernel waits for', () => {
  const code = (wchan: string) => reasonOf(verdictOf('disk-wait', wchan), [], false)?.code
  assert.equal(code('percpu_rwsem_wait'), 'FILESYSTEM_FROZEN')
  assert.equal(code('fanotify_get_response'), 'FANOTIFY_WAIT')
  assert.equal(code('mem_cgroup_oom_synchronize'), 'MEMORY_LIMIT')
  assert.equal(code('__refrigerator'), 'CGROUP_FROZEN')
  assert.equal(code('rpc_wait_bit_killable'), 'REMOTE_FILESYSTEM_WAIT')
  assert.equal(code('jbd2_log_wait_commit'), 'DISK_WAIT')
})
