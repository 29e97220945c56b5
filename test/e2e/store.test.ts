import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { run } from '../testbed/command.ts'
import { hostArchitecture } from '../testbed/image-layout.ts'
import type { ImageName } from '../testbed/images.ts'
import { type RegistryProxy, startProxy } from '../testbed/proxy.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'

let bed: Testbed
let proxy: RegistryProxy

before(async () => {
  bed = await openTestbed()
  proxy = await startProxy(bed.registry.host, Number.POSITIVE_INFINITY)
})
after(async () => {
  await proxy?.[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

function refer(image: ImageName): string {
  return `${proxy.host}/${image}:latest`
}

/** What `images --json` tells, as far as these tests look at it. */
async function listImages(): Promise<
  { id: string; digest: string; names: string[]; platform: { architecture: string } }[]
> {
  return JSON.parse(await bed.windlass.run('images', '--json'))
}

test('pull ends with the reference and its digest, and a second pull moves no layer', async () => {
  const first = await bed.windlass.try('pull', refer('debian'))
  assert.equal(first.status, 0, first.stderr)
  assert.match(first.stdout, /^127\.0\.0\.1:\d+\/debian:latest@sha256:[0-9a-f]{64}\n$/)
  assert.match(first.stderr, /Downloaded newer image/)
  const blobs = countBlobRequests()
  const second = await bed.windlass.try('pull', refer('debian'))
  assert.equal(second.stdout, first.stdout)
  assert.match(second.stderr, /Image is up to date/)
  assert.equal(countBlobRequests(), blobs)
})

function countBlobRequests(): number {
  return proxy.requests.filter(({ path }) => path.includes('/blobs/')).length
}

test('the image ID is the digest of the configuration, as docker has it', async () => {
  await bed.windlass.run('pull', refer('debian'))
  const manifest = await run('skopeo', ['inspect', '--raw', `oci:${bed.images.layout}:debian`])
  const [image] = await listImages()
  assert.equal(image?.id, JSON.parse(manifest).config.digest)
})

test('layers that images share are downloaded and stored once', async () => {
  await bed.windlass.run('pull', refer('debian'))
  const blobs = countBlobRequests()
  await bed.windlass.run('pull', refer('debian-schema2'))
  assert.equal(countBlobRequests(), blobs, 'the configuration is the same, too')
  assert.equal((await listImages()).length, 2)
})

test('a tag names the same image; it stays until its last name is gone, then gc leaves nothing', async () => {
  await bed.windlass.run('pull', refer('debian'))
  await bed.windlass.run('tag', refer('debian'), 'other/name:v1')
  await bed.windlass.run('rmi', refer('debian'))
  const names = (await listImages()).flatMap(image => image.names)
  assert.ok(names.includes('other/name:v1'), names.join())
  assert.ok(!names.includes(refer('debian')), names.join())
  await bed.windlass.run('unpack', 'other/name:v1', join(await bed.makeDirectory('tagged'), 'root'))
  await bed.windlass.run('rmi', '--force', ...new Set((await listImages()).map(({ id }) => id)))
  await bed.windlass.run('gc')
  assert.deepEqual(await listImages(), [])
  assert.equal(await run('find', [join(bed.root, 'blobs'), join(bed.root, 'partial'), '-type', 'f']), '')
  assert.equal(await run('find', [join(bed.root, 'overlay2'), '-mindepth', '1', '-not', '-path', '*/l']), '')
})

test('verify finds nothing in a sound store and names a blob whose bytes changed', async () => {
  await bed.windlass.run('pull', refer('odd'))
  const sound = await bed.windlass.try('verify')
  assert.equal(sound.stdout, '')
  assert.equal(sound.status, 0, sound.stderr)
  const blob = (await run('find', [join(bed.root, 'blobs'), '-type', 'f', '-size', '+1k'])).split('\n')[0] ?? ''
  await using file = await open(blob, 'r+')
  await file.write(Buffer.from('damage'), 0, 6, 100)
  const damaged = await bed.windlass.try('verify')
  assert.equal(damaged.status, 6)
  assert.ok(damaged.stdout.includes(blob.slice(-64)), damaged.stdout)
})

test('an image that the registry does not have is told as not found', async () => {
  const result = await bed.windlass.try('pull', `${bed.registry.host}/nothing:here`)
  assert.equal(result.status, 2)
  assert.match(result.stderr, /^windlass: Cannot /m)
  assert.equal(result.stdout, '')
})

test('of an index comes the image of this machine, or of the platform that is asked for', async () => {
  await bed.windlass.run('pull', refer('multi'))
  assert.deepEqual(await listPlatforms(), [hostArchitecture])
  const other = hostArchitecture === 'arm64' ? 'amd64' : 'arm64'
  await bed.windlass.run('pull', '--platform', `linux/${other}`, refer('multi'))
  assert.ok((await listPlatforms()).includes(other))
  const missing = await bed.windlass.try('pull', '--platform', 'linux/s390x', refer('multi'))
  assert.equal(missing.status, 2)
  assert.match(missing.stderr, /arm64/, 'it lists what there is')
})

async function listPlatforms(): Promise<string[]> {
  const images = await listImages()
  return images.filter(({ names }) => names.includes(refer('multi'))).map(({ platform }) => platform.architecture)
}
