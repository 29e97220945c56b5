import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { DownloadWatch } from './download-watch.ts'

interface Scene {
  readonly looks?: number
  /** By the file's time, at the last look. */
  readonly idleMs?: number
  /** Of the host and the engine. */
  readonly ageMs?: number
  /** What the data of the engine lie on. */
  readonly filesystem?: string
}

/** What is said of a download of dockerd that does not grow, looked at four times a second. */
async function told({ looks = 24, idleMs = 20_000, ageMs = 60_000, filesystem = 'ext4' }: Scene): Promise<string> {
  const host = new FixtureHost({
    links: { '/proc/7/fd/9': '/data/tmp/GetImageBlob1' },
    files: {
      '/proc/7/fdinfo/9': 'pos:\t100\nflags:\t0100002\n',
      '/proc/7/mountinfo': `22 1 0:40 / / rw - ${filesystem} some rw\n`,
      '/proc/uptime': `${(ageMs + 1000) / 1000} 0.00\n`,
    },
  })
  const endMs = (looks - 1) * 250
  Object.assign(host, { now: () => 1_000_000 + host.elapsed() })
  const mtimeMs = 1_000_000 + endMs - idleMs
  Object.assign(host.disk, {
    file: async () => ({ size: 100, mtimeMs, mode: 0o100600 }),
  })
  const watch = new DownloadWatch(host, [makeEngine(7, { dataRoot: '/data' })])
  for (let at = 0; at < looks; at++) {
    if (at > 0) await host.pause(250)
    await watch.look()
  }
  return watch
    .judge([])
    .map(({ code, confidence }) => `${code} ${confidence}`)
    .join()
}

test('a download is silent that was seen not to grow, and by its time has not for longer', async () => {
  assert.equal(await told({}), 'DOWNLOAD_SILENT likely')
  assert.equal(await told({ idleMs: 14_000 }), 'PULL_WAITS certain')
})

test('a look that was too short accuses nobody, whatever the time of the file says', async () => {
  assert.equal(await told({ looks: 8, idleMs: 3_600_000, ageMs: 9_000_000 }), 'PULL_WAITS certain')
})

test('a time from before the engine began is that of another clock', async () => {
  assert.equal(await told({ idleMs: 50_000, ageMs: 60_000 }), 'DOWNLOAD_SILENT likely')
  assert.equal(await told({ idleMs: 70_000, ageMs: 60_000 }), 'PULL_WAITS certain')
})

test('so is that of a server of files', async () => {
  for (const filesystem of ['nfs4', 'fuse.sshfs']) assert.equal(await told({ filesystem }), 'PULL_WAITS certain')
})
