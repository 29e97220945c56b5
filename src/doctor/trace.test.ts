import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FixtureHost } from '../../test/fixture-host.ts'
import { Trace } from './trace.ts'

interface Scene {
  readonly kind?: 'containerd' | 'dockerd'
  /** Since something came on the one connection; unknown if undefined. */
  readonly receivedMs?: number | undefined
  readonly seconds?: number
}

/** For how long a download whose file does not grow is said to have waited, and to have stood still. */
async function traceStill({ kind = 'containerd', receivedMs, seconds = 20 }: Scene): Promise<[number, number]> {
  const ingest = '/data/io.containerd.content.v1.content/ingest/a'
  const path = kind === 'containerd' ? `${ingest}/data` : '/data/tmp/GetImageBlob1'
  const host = new FixtureHost({
    files: {
      '/proc/7/stat': `7 (${kind}) S 1 7 7 0 ${'0 '.repeat(46)}`,
      '/proc/7/environ': 'PATH=/usr/bin\0',
      '/proc/7/fdinfo/9': 'pos:\t100\nflags:\t0100002\n',
    },
    links: { '/proc/7/exe': `/usr/bin/${kind}`, '/proc/7/fd/3': 'socket:[50]' },
    tells:
      receivedMs === undefined
        ? {}
        : {
            'ss -tneiH state established': `0 0 10.0.0.1:40000 10.0.0.2:443 ino:50 sk:1\n\t lastrcv:${receivedMs}\n`,
            'ss -tneiH state listening': '',
          },
  })
  const trace = await Trace.open(host)
  const link = host.link.bind(host)
  Object.assign(host, {
    link: (name: string) => (name === '/proc/7/fd/9' ? path : link(name)),
    names: nameToo(host),
  })
  Object.assign(host.disk, { file: async () => ({ size: 100, mtimeMs: 0, mode: 0o100600 }) })
  trace.start(() => true)
  for (let at = 0; at < seconds * 4; at++) {
    await trace.look()
    await host.pause(250)
  }
  assert.ok(trace.times.downloading > 0)
  return [trace.times.waitingForRegistry, trace.stillMs]
}

/** The descriptor that was opened since. */
function nameToo(host: FixtureHost) {
  const names = host.names.bind(host)
  return (path: string) => (path === '/proc/7/fd' ? ['3', '9'] : names(path))
}

test('who downloads and gets nothing waits for the registry', async () => {
  for (const scene of [{ kind: 'dockerd', receivedMs: 10 }, { receivedMs: 600_000 }] as const) {
    const [waitedMs, stillMs] = await traceStill(scene)
    assert.ok(waitedMs > 19_000 && stillMs > 19_000, `${waitedMs} ${stillMs}`)
  }
})

test('what containerd keeps back until it is a piece of 1 MiB has come, and stands still only where no piece could take so long', async () => {
  for (const receivedMs of [10, undefined]) {
    const [waitedMs, stillMs] = await traceStill({ receivedMs })
    assert.ok(waitedMs < 500 && stillMs < 500, `${waitedMs} ${stillMs}`)
    const [later, stillLater] = await traceStill({ receivedMs, seconds: 150 })
    assert.ok(later > 29_000 && later < 31_000 && stillLater > 29_000, `${later} ${stillLater}`)
  }
})
