import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { isWindlassError } from '../../src/errors.ts'
import { parseDocument } from '../../src/oci/manifest.ts'
import { openArchive } from '../../src/places/archive/archive.ts'
import { descriptorOf, digestOf } from '../servers/push.ts'
import { buildTar, type RawEntry } from '../tar-builder.ts'
import { run } from '../testbed/command.ts'
import { assertSameTree, readTree } from '../tree.ts'
import { TestDirectory } from '../unpack-tar.ts'
import { file, link, symlink } from './arena.ts'

/** CVE-2014-9357, CVE-2025-11395 and their kin: archives and layouts that name, or lead to, what is not theirs; and what hangs whoever reads it. */

const layer = buildTar([file('secret', 'of the host')])
const blob = gzipSync(layer)
const config = Buffer.from(
  JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [digestOf(layer)] } }),
)
const ociLayer = 'application/vnd.oci.image.layer.v1.tar+gzip'
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptorOf(config, 'application/vnd.oci.image.config.v1+json'),
    layers: [descriptorOf(blob, ociLayer)],
  }),
)
const index = JSON.stringify({
  schemaVersion: 2,
  manifests: [descriptorOf(manifest, 'application/vnd.oci.image.manifest.v1+json')],
})
const pathOf = (bytes: Uint8Array): string => `blobs/${digestOf(bytes).replace(':', '/')}`
const dockerManifest = (configPath: string, layerPath: string): string =>
  JSON.stringify([{ Config: configPath, RepoTags: ['evil:1'], Layers: [layerPath] }])

/** A directory `archive`, beside a file of the host's. */
class Host extends TestDirectory {
  readonly archive = join(this.path, 'archive')
  readonly secret = join(this.path, 'outside', 'secret.tar.gz')

  constructor() {
    super()
    this.write('outside/secret.tar.gz', blob)
    mkdirSync(this.archive)
  }

  write(path: string, bytes: string | Uint8Array): void {
    mkdirSync(dirname(join(this.path, path)), { recursive: true })
    writeFileSync(join(this.path, path), bytes)
  }

  layout(): void {
    for (const bytes of [config, manifest, blob]) this.write(`archive/${pathOf(bytes)}`, bytes)
    this.write('archive/index.json', index)
  }
}

/** All bytes of the only image, as a copy would take them. */
async function readAll(path: string, spoolDirectory: string): Promise<Buffer[]> {
  const signal = AbortSignal.timeout(20_000)
  await using archive = await openArchive(path, { signal, spoolDirectory })
  const [image] = archive.images
  assert.ok(image)
  const { bytes, descriptor } = await image.source.resolve({ digest: undefined }, signal)
  const document = parseDocument(bytes, { descriptor })
  assert.ok(document.kind === 'manifest')
  const read: Buffer[] = [
    Buffer.from((await image.source.readDocument(document.config, { sizeMax: 1e6, signal })).bytes),
  ]
  for (const descriptor of document.layers) {
    const stream = await image.source.openBlob(descriptor, { offset: 0, signal })
    read.push(Buffer.concat(await Array.fromAsync(stream.bytes)))
  }
  return read
}

async function refused(host: Host, wanted: RegExp): Promise<void> {
  const before = readTree(join(host.path, 'outside'))
  await assert.rejects(readAll(host.archive, host.path), error => {
    assert.ok(isWindlassError(error) && /^(CORRUPT|INCOMPLETE)$/.test(error.code), String(error))
    assert.match(error.message, wanted)
    return true
  })
  assertSameTree(readTree(join(host.path, 'outside')), before)
}

test("a docker archive in a directory cannot name files of the host's", async () => {
  for (const evil of [
    '../outside/secret.tar.gz',
    'a/../../outside/secret.tar.gz',
    'link.tar.gz',
    'linked/secret.tar.gz',
  ]) {
    using host = new Host()
    host.write('archive/config.json', config)
    symlinkSync(host.secret, join(host.archive, 'link.tar.gz'))
    symlinkSync('../outside', join(host.archive, 'linked'))
    mkdirSync(join(host.archive, 'a'))
    host.write('archive/manifest.json', dockerManifest('config.json', evil))
    await refused(host, /leads out of it/)
    host.write('outside/config.json', config)
    host.write('archive/layer.tar.gz', blob)
    host.write('archive/manifest.json', dockerManifest(evil.replace('secret.tar.gz', 'config.json'), 'layer.tar.gz'))
    if (evil.includes('/')) await refused(host, /leads out of it/)
  }
})

test('a docker archive in a directory may have layers that are links to others of its own', async () => {
  using host = new Host()
  host.write('archive/config.json', config)
  host.write('archive/one/layer.tar', blob)
  mkdirSync(join(host.archive, 'two'))
  symlinkSync('../one/layer.tar', join(host.archive, 'two/layer.tar'))
  host.write('archive/manifest.json', dockerManifest('config.json', 'two/layer.tar'))
  assert.deepEqual(await readAll(host.archive, host.path), [config, blob])
})

test('names of a tar are never paths of the host, whatever they and the links in it say', async () => {
  using host = new Host()
  const evil: [string, RawEntry[]][] = [
    ['../outside/secret.tar.gz', []],
    [host.secret, []],
    ['l', [symlink('l', '../outside/secret.tar.gz')]],
    ['l', [symlink('l', host.secret)]],
    ['l', [link('l', '../outside/secret.tar.gz')]],
    ['l', [symlink('l', 'm'), symlink('m', 'l')]],
    ['l', [{ name: 'l', typeflag: '6' }]],
    ['l', [{ name: 'l', typeflag: '3', devmajor: 1, devminor: 5 }]],
  ]
  for (const [name, entries] of evil) {
    const tar = [
      file('config.json', config.toString()),
      ...entries,
      file('manifest.json', dockerManifest('config.json', name)),
    ]
    host.write('evil.tar', buildTar(tar))
    await assert.rejects(readAll(join(host.path, 'evil.tar'), host.path), error => isWindlassError(error, 'CORRUPT'))
  }
})

test('a fifo, a device, a directory and an endless link, where a file of a layout is expected, are none', async () => {
  for (const what of ['fifo', 'device', 'directory', 'link to a device']) {
    for (const bytes of [blob, config, manifest]) {
      using host = new Host()
      host.layout()
      const place = join(host.archive, pathOf(bytes))
      rmSync(place)
      if (what === 'fifo') await run('mkfifo', [place])
      else if (what === 'device') await run('mknod', [place, 'c', '1', '5'])
      else if (what === 'directory') mkdirSync(place)
      else symlinkSync('/dev/zero', place)
      await refused(host, /is not there/)
    }
  }
  using host = new Host()
  await run('mkfifo', [join(host.archive, 'index.json')])
  await refused(host, /neither index.json nor manifest.json/)
})

test('a blob of a layout may be a link that leads elsewhere, as build tools make them; it counts by its digest alone', async () => {
  using host = new Host()
  host.layout()
  rmSync(join(host.archive, pathOf(blob)))
  symlinkSync(host.secret, join(host.archive, pathOf(blob)))
  assert.deepEqual((await readAll(host.archive, host.path))[1], readFileSync(host.secret))
  host.write('outside/secret.tar.gz', Buffer.concat([blob, Buffer.from('x')]))
  const error = await readAll(host.archive, host.path).catch(cause => cause)
  assert.ok(isWindlassError(error, 'DIGEST_MISMATCH'), String(error))
})

test('a digest of a layout that is a path is refused', async () => {
  for (const digest of ['sha256:../../../outside/secret.tar.gz', `sha256:${'../'.repeat(21)}x`, '../outside:secret']) {
    using host = new Host()
    host.layout()
    host.write('archive/index.json', index.replace(/sha256:[0-9a-f]+/, digest))
    await refused(host, /digest/)
  }
})

test('documents of an archive beyond all measure are refused before they are read', async () => {
  using host = new Host()
  for (const name of ['index.json', 'manifest.json']) {
    rmSync(host.archive, { recursive: true })
    host.write(`archive/${name}`, '')
    await run('truncate', ['-s', '1T', join(host.archive, name)])
    const error = await readAll(host.archive, host.path).catch(cause => cause)
    assert.ok(isWindlassError(error, 'LIMIT_EXCEEDED'), String(error))
  }
})
