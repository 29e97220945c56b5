import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { DownloadWatch } from './download-watch.ts'
import type { FoundEngine } from './engines.ts'
import type { Line } from './lines.ts'
import type { LineWatch } from './sample.ts'

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

test('what a client sends comes from no registry, however long nothing has come', async () => {
  const told = async (ref: string) => {
    const directory = '/data/io.containerd.content.v1.content/ingest/ab'
    const host = new FixtureHost({
      links: { '/proc/7/fd/9': `${directory}/data` },
      files: { [`${directory}/ref`]: ref, [`${directory}/total`]: '900', '/proc/uptime': '900.00 0.00\n' },
    })
    Object.assign(host, { now: () => 1_000_000 + host.elapsed() })
    Object.assign(host.disk, { file: async () => ({ size: 100, mtimeMs: 980_000, mode: 0o100600 }) })
    const watch = new DownloadWatch(host, [makeEngine(7, { kind: 'containerd', dataRoot: '/data', dataPath: '/data' })])
    for (let at = 0; at < 24; at++) {
      await watch.look()
      await host.pause(250)
    }
    return watch.judge([]).map(({ code, subject }) => `${code} ${subject}`)
  }
  const digest = '0a'.repeat(32)
  assert.deepEqual(await told(`default/1/layer-sha256:${digest}`), ['DOWNLOAD_SILENT containerd 7 ← registry'])
  assert.deepEqual(await told(`default/1/tar-blobs/sha256/${digest}`), ['PULL_WAITS containerd 7 ← client'])
})

interface Unpacking {
  /** Lines of an untar without a decompressor, by what they unpack to. */
  readonly targets?: readonly string[]
  /** How many layers of pulls the engine says that it unpacks. */
  readonly told?: number
  /** Of a file of its own, 100 bytes long, that another descriptor is in. */
  readonly position?: number
  readonly flags?: string
  /** What else it has open. */
  readonly other?: string
  readonly name?: string
}

/** What is said of a file of dockerd at whose end it stands, while it unpacks. */
async function toldWhile({
  targets = [],
  told,
  position,
  flags = '0100002',
  other,
  name = '/data/tmp/GetImageBlob1',
}: Unpacking): Promise<string> {
  const files: Record<string, string> = {
    '/proc/7/fdinfo/9': `pos:\t100\nflags:\t${flags}\n`,
    '/proc/uptime': '900.00 0.00\n',
  }
  const links: Record<string, string> = { '/proc/7/fd/9': name }
  if (position !== undefined) {
    files['/proc/7/fdinfo/8'] = `pos:\t${position}\nflags:\t0100002\n`
    links['/proc/7/fd/8'] = '/data/tmp/GetImageBlob0'
  }
  if (other !== undefined) links['/proc/7/fd/7'] = other
  const host = new FixtureHost({ links, files })
  Object.assign(host, { now: () => 1_000_000 + host.elapsed() })
  Object.assign(host.disk, { file: async () => ({ size: 100, mtimeMs: 980_000, mode: 0o100600 }) })
  const engine: FoundEngine = makeEngine(7, { dataRoot: '/data' })
  const watch = new DownloadWatch(host, [engine])
  for (let at = 0; at < 24; at++) {
    await watch.look()
    await host.pause(250)
  }
  const line = (target: string) => ({ engine, target, untarName: 'docker-untar' }) as Line
  const open = targets.map(target => ({ line: line(target), looks: [] }) as unknown as LineWatch)
  return watch
    .judge(open, new Set(), () => told)
    .map(({ code }) => code)
    .join()
}

test('a file that was read to its end and is unpacked is no silent download, however slowly', async () => {
  assert.equal(await toldWhile({}), 'DOWNLOAD_SILENT')
  assert.equal(await toldWhile({ targets: ['/data/overlay2/a/diff'] }), '')
  assert.equal(await toldWhile({ told: 1 }), '')
  // In a directory that DOCKER_TMPDIR names.
  assert.equal(await toldWhile({ name: '/mnt/scratch/GetImageBlob1' }), 'DOWNLOAD_SILENT')
  // Opened anew, to read.
  assert.equal(await toldWhile({ flags: '0100000' }), '')
})

test('what is unpacked from another file, or for a client, excuses no silence', async () => {
  const targets = ['/data/overlay2/a/diff']
  assert.equal(await toldWhile({ targets, position: 50 }), 'DOWNLOAD_SILENT')
  assert.equal(await toldWhile({ told: 1, position: 50 }), 'DOWNLOAD_SILENT')
  for (const target of ['/data/tmp/docker-import-12', '/data/tmp/docker-builder12', '/data/overlay2/a/merged'])
    assert.equal(await toldWhile({ targets: [target] }), 'DOWNLOAD_SILENT', target)
  // An import of a plain tar is unpacked like a layer: the engine tells whose it is.
  assert.equal(await toldWhile({ targets, told: 0 }), 'DOWNLOAD_SILENT')
  for (const other of ['/data/tmp/docker-import-12/1a/layer.tar', '/data/containerd/content/blobs/sha256/1a']) {
    assert.equal(await toldWhile({ targets, other }), 'DOWNLOAD_SILENT', other)
    assert.equal(await toldWhile({ told: 0, other }), 'DOWNLOAD_SILENT', other)
  }
  // Two files at whose end it stands, and one of them unpacked.
  assert.equal(await toldWhile({ targets, position: 100 }), 'DOWNLOAD_SILENT')
})
