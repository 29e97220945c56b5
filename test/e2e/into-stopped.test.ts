/** Deliveries into an engine that stands still while its socket, and all that was opened on it, stays open: it must not keep windlass with it. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '../testbed/command.ts'
import { startProxy } from '../testbed/proxy.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { windlassFor } from '../testbed/windlass.ts'
import { type Subject, subjects } from './subjects.ts'

let bed: Testbed
before(async () => {
  bed = await openTestbed()
})
after(async () => {
  await bed?.[Symbol.asyncDispose]()
})

/** An engine's daemon; where it has none, the process that works on its storage. */
async function findEngine({ pid, env }: Subject): Promise<number> {
  if (pid !== undefined) return pid
  const isIts = (candidate: number) =>
    read(candidate, 'comm') === 'podman\n' &&
    read(candidate, 'cmdline').includes('\0pull\0') &&
    read(candidate, 'environ').includes(`=${env['CONTAINERS_STORAGE_CONF']}\0`)
  let found: number | undefined
  await waitUntil('podman runs', 30_000, () => {
    found = readdirSync('/proc').map(Number).filter(Boolean).find(isIts)
    return found !== undefined
  })
  return found as number
}

function read(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    return ''
  }
}

interface Stopped {
  readonly status: number | null
  readonly stderr: string
  readonly tookMs: number
}

/**
 * A delivery whose engine is stopped in its middle.
 * @param then what is done to windlass when the engine stands still
 */
async function deliverIntoStopped(
  name: string,
  open: (directory: string) => Promise<Subject>,
  then: { readonly interrupt?: true; readonly whole?: true },
): Promise<Stopped> {
  await using proxy = await startProxy(bed.registry.host, 24 << 20)
  await using subject = await open(await bed.makeDirectory(name))
  const windlass = windlassFor(join(bed.root, '..', `store-${name}`), subject.env)
  const args = ['pull', '--stall-timeout', '2', '--into', ...subject.into, `${proxy.host}/debian:latest`]
  const { child, result } = windlass.start(...args)
  await waitUntil('the engine takes something', 60_000, () => subject.hasBegun())
  const engine = await findEngine(subject)
  process.kill(engine, 'SIGSTOP')
  const startedMs = performance.now()
  try {
    if (then.whole) proxy.bytesPerSecond = Number.POSITIVE_INFINITY
    await sleep(1000)
    if (then.interrupt) child.kill('SIGINT')
    const timer = setTimeout(() => child.kill('SIGKILL'), 110_000)
    const { status, stderr } = await result
    clearTimeout(timer)
    return { status, stderr, tookMs: performance.now() - startedMs }
  } finally {
    try {
      process.kill(engine, 'SIGCONT')
    } catch {} // podman is gone by then
  }
}

describe('an engine that is stopped in the middle of a delivery', { concurrency: true }, () => {
  for (const [name, open] of Object.entries(subjects)) {
    const directory = name.replaceAll(' ', '-')
    test(`is named and given up: ${name}`, async () => {
      const { status, stderr } = await deliverIntoStopped(directory, open, { whole: true })
      assert.equal(status, 5, stderr)
      assert.match(stderr, /windlass: Cannot .*(docker|containerd|podman).*stopped by a signal/)
    })

    test(`does not keep what is cancelled: ${name}`, async () => {
      const { status, stderr, tookMs } = await deliverIntoStopped(`${directory}-cancelled`, open, { interrupt: true })
      assert.equal(status, 130, stderr)
      assert.ok(tookMs < 20_000, `${tookMs} ms`)
    })
  }
})
