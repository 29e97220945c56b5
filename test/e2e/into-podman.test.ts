/** Into podman's storage, with decompressors on the PATH that hang. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { chown, mkdtemp, open, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
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

test('an image comes into the podman of an ordinary user, with owners of its own', async () => {
  const user = 4712
  const home = await bed.makeDirectory('user')
  await chown(home, user, user)
  const programs = await mkdtemp(join(tmpdir(), 'windlass-spies-'))
  using _programs = { [Symbol.dispose]: () => rmSync(programs, { recursive: true, force: true }) }
  using seen = await plantSpies(programs, ['unpigz', 'pigz', 'zstd', 'gzip'])
  await run('chmod', ['-R', 'a+rwX', programs])
  await writeFile(join(home, 'passwd'), `root:x:0:0::/root:/bin/sh\ncapstan:x:${user}:${user}::/mnt:/bin/sh\n`)
  await writeFile(join(home, 'group'), `root:x:0:\ncapstan:x:${user}:\n`)
  await writeFile(join(home, 'subids'), 'capstan:300000:65536\n')
  // The repository and the testbed may lie where only root can go.
  const prepare = `
    for name in passwd group; do mount --bind "$1/$name" "/etc/$name"; done
    for name in subuid subgid; do mount --bind "$1/subids" "/etc/$name"; done
    mount --bind "$2" /opt; mount --bind "$1" /mnt
    cd /mnt; exec setpriv --reuid ${user} --regid ${user} --clear-groups env -i PATH="$3:$PATH" HOME=/mnt ref="$4" sh -ec "$5"`
  const asUser = `
    umask 077; mkdir run; export XDG_RUNTIME_DIR="$HOME/run" STORAGE_DRIVER=overlay
    /opt/bin/windlass --root "$HOME/store" pull --progress none --into podman "$ref" >&2
    podman image inspect -f '{{.Id}} {{.Digest}} {{.RepoTags}}' "$ref"
    podman --runtime runc --cgroup-manager cgroupfs run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 "$ref" \
      sh -c 'echo alive; stat -c %u /srv/data/run'`
  const reference = bed.refer('debian')
  const args = [home, join(import.meta.dirname, '../..'), programs, reference, asUser]
  // The process that keeps this user's namespace ends with the others.
  const said = await run('unshare', ['--mount', '--pid', '--fork', '--mount-proc', 'sh', '-ec', prepare, 'sh', ...args])
  const { Id, Digest, RepoTags } = await inspect(healthy, reference)
  assert.deepEqual(said.split('\n'), [`${Id} ${Digest} [${RepoTags.join(' ')}]`, 'alive', '1000'])
  assert.deepEqual(await seen.started(), [])
})

test('by files, where it may not pull from loopback; a route by name is not left for another', async () => {
  const policy = await bed.makeDirectory('policy')
  await writeFile(join(policy, 'registries.conf'), '[[registry]]\nlocation = "127.0.0.1"\nblocked = true\n')
  const strict = { ...broken.env, CONTAINERS_REGISTRIES_CONF: join(policy, 'registries.conf') }
  const pull = (...args: string[]) =>
    windlassFor(bed.root, strict).try('pull', '--into', 'podman', ...args, bed.refer('odd'))
  const named = await pull('--route', 'registry')
  assert.equal(named.status, 1, named.stderr)
  assert.match(named.stderr, /podman says .*blocked/)
  const chosen = await pull('--progress', 'plain')
  assert.equal(chosen.status, 0, chosen.stderr)
  assert.match(chosen.stderr, /blocked.*; going on with files/)
  assert.match(await broken.podman('images', '-q', bed.refer('odd')), /^[0-9a-f]{12}$/)
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
