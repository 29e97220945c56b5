/** Into podman's storage, with decompressors on the PATH that hang. */
import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { intoPodman } from '../../src/copy/into-podman.ts'
import { pull } from '../../src/copy/pull.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { tryLockByte } from '../../src/sys/libc.ts'
import { run } from '../testbed/command.ts'
import type { ImageName } from '../testbed/images.ts'
import { openPodman, type TestPodman } from '../testbed/podman.ts'
import { plantSpies, type Spies } from '../testbed/spies.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { type Windlass, windlassFor } from '../testbed/windlass.ts'

let bed: Testbed
let healthy: TestPodman
let broken: TestPodman
let spies: Spies
let windlass: Windlass

before(async () => {
  bed = await openTestbed()
  healthy = await openPodman(await bed.makeDirectory('podman'))
  spies = await plantSpies(join(bed.root, '../spies'), ['unpigz', 'pigz', 'zstd', 'gzip'])
  broken = await openPodman(await bed.makeDirectory('broken'), spies.directory)
  windlass = windlassFor(bed.root, broken.env)
})
after(async () => {
  spies?.[Symbol.dispose]()
  await broken?.[Symbol.asyncDispose]()
  await healthy?.[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

async function inspect({ podman }: TestPodman, reference: string) {
  const [image] = JSON.parse(await podman('image', 'inspect', reference))
  const { Id, Digest, RepoTags, RepoDigests, RootFS, Config } = image
  return { Id, Digest, RepoTags, RepoDigests: RepoDigests.sort(), RootFS, Config }
}

async function assertLikeOwnPull(image: ImageName): Promise<void> {
  const reference = bed.refer(image)
  await healthy.podman('pull', '-q', '--tls-verify=false', reference)
  const { status, stderr } = await windlass.try('pull', '--into', 'podman', reference)
  assert.equal(status, 0, stderr)
  assert.deepEqual(await inspect(broken, reference), await inspect(healthy, reference))
  assert.deepEqual(await spies.started(), [])
}

test('an image comes into podman as if it had pulled it, and no decompressor is started', async () => {
  await assertLikeOwnPull('debian')
  const runtime = ['--runtime', 'runc', '--cgroup-manager', 'cgroupfs']
  const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000'] // more than that, a machine may refuse
  const args = [...runtime, 'run', '--rm', '--network', 'none', ...limits, bed.refer('debian'), 'echo', 'alive']
  assert.equal(await broken.podman(...args), 'alive')
})

test('an image of an index keeps the digests of both', async () => {
  await assertLikeOwnPull('multi')
})

test('an image of zstd layers', async () => {
  await windlass.run('pull', '--into', 'podman', bed.refer('odd-zstd'))
  assert.match(await broken.podman('images', '-q', bed.refer('odd-zstd')), /^[0-9a-f]{12}$/)
})

test('an image that is there is not brought again', async () => {
  const { stderr } = await windlass.try('pull', '--into', 'podman', '--progress', 'plain', bed.refer('debian'))
  assert.match(stderr, /: Already exists/)
  assert.match(stderr, /Image is up to date/)
})

test('an image leaves podman for an archive', async () => {
  const archive = join(await bed.makeDirectory('archives'), 'debian.tar')
  await windlass.run('copy', `containers-storage:${bed.refer('debian')}`, `oci-archive:${archive}:out`)
  const manifest = JSON.parse(await run('skopeo', ['inspect', '--raw', `oci-archive:${archive}:out`]))
  assert.equal(manifest.config.digest.slice('sha256:'.length), (await inspect(broken, bed.refer('debian'))).Id)
  const { status, stderr } = await windlass.try('copy', 'containers-storage:never:was', `oci-archive:${archive}:no`)
  assert.notEqual(status, 0)
  assert.match(stderr, /Cannot save never:was from podman: .*(no such image|not known|not in local storage)/)
})

test('a podman that waits for the lock of another one is given up and said so', async () => {
  const lock = join(broken.env['CONTAINERS_STORAGE_CONF'] ?? '', '../graph/storage.lock')
  const file = await open(lock, 'a+')
  try {
    assert.ok(tryLockByte(file.fd, 0, 'exclusive'))
    const into = intoPodman({ env: { ...process.env, ...broken.env }, idleMs: 3000 })
    const run = pull(bed.refer('sparse'), { root: bed.root, credentials: noCredentials, into })
    await assert.rejects(run.result, /podman \(process \d+\) has read and written nothing for 3 s/)
  } finally {
    await file.close()
  }
})
