import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { defaultBlameLimits } from '../flow/blame.ts'
import { EngineWatch } from './engine-watch.ts'

const limits = { ...defaultBlameLimits, diskIdleMs: 5000 }
const stat = (tid: number, state: string) =>
  `${tid} (dockerd) ${state} 1 7 7 ${'0 '.repeat(13)}9 0 100 ${'0 '.repeat(20)}`
const disk = (answered: number) => ` 254 0 vda ${answered} 0 0 0 0 0 0 0 2 0 0\n`

interface Scene {
  readonly wchan: string
  /** Of a second such thread. */
  readonly besides?: string
  readonly ms?: number
  /** Requests that the disk answers in each look. */
  readonly perLook?: number
  readonly isPulling?: boolean
}

/** What is said of an engine with one thread that the kernel holds: `CODE severity`. */
async function told({ wchan, besides, ms = 7000, perLook = 0, isPulling = true }: Scene): Promise<string | undefined> {
  const host = new FixtureHost({
    files: {
      '/proc/7/stat': stat(7, 'S'),
      '/proc/7/task/7/stat': stat(7, 'S'),
      '/proc/7/task/8/stat': stat(8, 'D'),
      '/proc/7/task/8/wchan': wchan,
      '/proc/7/task/8/syscall': '75 0x3',
      ...(besides !== undefined && {
        '/proc/7/task/9/stat': stat(9, 'D'),
        '/proc/7/task/9/wchan': besides,
      }),
      '/proc/7/mountinfo': '21 1 254:0 / / rw - ext4 /dev/vda rw\n',
      '/proc/diskstats': disk(0),
    },
  })
  const watch = new EngineWatch(host, makeEngine(7, { dataRoot: '/var/lib/docker' }))
  for (let at = 0; at * 250 <= ms; at++) {
    watch.look()
    host.later['/proc/diskstats'] = disk((at + 1) * perLook)
    await host.pause(250)
  }
  const [found] = watch.judge(limits, isPulling) ?? []
  return found && `${found.code} ${found.severity}`
}

test('an engine that waits for a disk is only slow while the disk answers', async () => {
  const wchan = 'jbd2_log_wait_commit'
  assert.equal(await told({ wchan }), 'DISK_WAIT problem')
  assert.equal(await told({ wchan, perLook: 1 }), 'DISK_BUSY note')
  assert.equal(await told({ wchan, ms: 5750 }), 'PULL_WAITS note')
  assert.equal(await told({ wchan, ms: 4000 }), undefined)
})

test('of several threads that the kernel holds the one tells that is in a known place', async () => {
  assert.equal(await told({ wchan: 'some_lock', besides: 'fanotify_get_response' }), 'FANOTIFY_WAIT problem')
  assert.equal(await told({ wchan: 'fanotify_get_response', besides: 'some_lock' }), 'FANOTIFY_WAIT problem')
})

test('where no pull is to be seen nobody is accused of what may be slow', async () => {
  const alone = (wchan: string, perLook = 0) => told({ wchan, perLook, isPulling: false })
  assert.equal(await alone('jbd2_log_wait_commit'), 'DISK_WAIT note')
  assert.equal(await alone('jbd2_log_wait_commit', 1), undefined)
  assert.equal(await alone('some_lock'), 'KERNEL_WAIT note')
  assert.equal(await alone('fanotify_get_response'), 'FANOTIFY_WAIT warning')
})

test('who waits in a place that nobody knows is told with it', async () => {
  assert.equal(await told({ wchan: 'some_lock' }), 'KERNEL_WAIT warning')
  assert.equal(await told({ wchan: 'fanotify_get_response' }), 'FANOTIFY_WAIT problem')
})

/** What is said of an engine whose main thread is in these states, one a look, with so many switches. */
async function toldOfStates(
  states: readonly (readonly [state: string, switches: number])[],
): Promise<string | undefined> {
  const host = new FixtureHost({ files: {} })
  const watch = new EngineWatch(host, makeEngine(7))
  for (const [state, switches] of states) {
    const status = `voluntary_ctxt_switches:\t${switches}\nnonvoluntary_ctxt_switches:\t0\n`
    Object.assign(host.later, {
      '/proc/7/stat': stat(7, state),
      '/proc/7/task/7/stat': stat(7, state),
      '/proc/7/task/7/status': status,
    })
    await host.pause(250)
    watch.look()
  }
  return watch.judge(limits, true)?.[0]?.code
}

test('an engine is stopped if it stays so; one that a tracer stops at each of its calls goes on', async () => {
  const stopped = ['T', 5] as const
  assert.equal(await toldOfStates([stopped, stopped, stopped]), 'ENGINE_STOPPED')
  assert.equal(
    await toldOfStates([
      ['S', 4],
      ['t', 5],
      ['t', 5],
      ['t', 5],
    ]),
    'ENGINE_STOPPED',
  )
  assert.equal(await toldOfStates([stopped, stopped]), undefined)
  assert.equal(
    await toldOfStates([
      ['S', 1],
      ['S', 2],
      ['t', 3],
    ]),
    undefined,
  )
  assert.equal(
    await toldOfStates([
      ['t', 1],
      ['t', 9],
      ['t', 17],
      ['t', 30],
    ]),
    undefined,
  )
})
