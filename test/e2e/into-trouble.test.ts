/** Deliveries that are cut short: by the death of windlass, by the death of the engine, by a full disk of the engine. */
import assert from 'node:assert/strict'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { waitUntil } from '../testbed/command.ts'
import { startContainerd } from '../testbed/containerd.ts'
import { startDocker } from '../testbed/dockerd.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { openPodman } from '../testbed/podman.ts'
import { startProxy } from '../testbed/proxy.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { windlassFor } from '../testbed/windlass.ts'

/** An engine by one route, as far as these tests look at it. */
interface Subject extends AsyncDisposable {
  readonly into: readonly string[]
  readonly env: Record<string, string>
  /** The daemon, if it has one. */
  readonly pid?: number
  /** What an unfinished delivery may have made: names of files, snapshots, images, leases. Empty if there is nothing. */
  left(): Promise<readonly string[]>
  /** False if what is left goes with the next delivery only, or after a day. */
  readonly isSwept?: false
  /** The engine has begun to take something. */
  hasBegun(): Promise<boolean>
}

let bed: Testbed
before(async () => {
  bed = await openTestbed()
})
after(async () => {
  await bed?.[Symbol.asyncDispose]()
})

async function list(directory: string, pattern = /./): Promise<string[]> {
  const names = await readdir(directory).catch(() => [])
  return names.filter(name => pattern.test(name))
}

const docker =
  (route: string) =>
  async (directory: string): Promise<Subject> => {
    const daemon = await startDocker(directory)
    const temporary = () => list(join(directory, 'tmp'), /^(GetImageBlob|docker-import-)/)
    return {
      into: ['docker', '--route', route],
      env: { DOCKER_HOST: `unix://${daemon.socket}` },
      pid: daemon.pid,
      hasBegun: async () => (await temporary()).length > 0,
      async left() {
        const images = (await daemon.docker(['images', '-aq'])).split('\n').filter(Boolean)
        const layers = await list(join(directory, 'overlay2'), /^[0-9a-f]{64}/)
        return [...images, ...layers, ...(await temporary())]
      },
      [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
    }
  }

async function containerd(directory: string): Promise<Subject> {
  const daemon = await startContainerd(directory)
  const rows = async (...args: string[]) => (await daemon.ctr(...args)).split('\n').slice(1)
  return {
    into: ['containerd'],
    isSwept: false,
    env: { CONTAINERD_ADDRESS: daemon.socket },
    pid: daemon.pid,
    hasBegun: async () => (await rows('snapshots', 'ls')).length > 0,
    left: async () => [
      ...(await rows('images', 'ls')),
      ...(await rows('snapshots', 'ls')),
      ...(await rows('leases', 'ls')),
    ],
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  }
}

async function podman(directory: string): Promise<Subject> {
  const storage = await openPodman(directory)
  const temporary = join(directory, 'tmp')
  await mkdir(temporary)
  return {
    into: ['podman'],
    env: { ...storage.env, TMPDIR: temporary },
    hasBegun: async () => (await list(temporary, /^(storage|container_images)/)).length > 0,
    async left() {
      const layers = (await list(join(directory, 'graph/overlay'))).filter(name => /^[0-9a-f]{64}/.test(name))
      return [...(await storage.podman('images', '-aq')).split('\n').filter(Boolean), ...layers]
    },
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

const subjects = {
  'docker by registry': docker('registry'),
  'docker by load': docker('load'),
  containerd,
  podman,
}

for (const [name, open] of Object.entries(subjects)) describe(name, () => testSubject(name.replaceAll(' ', '-'), open))

function testSubject(name: string, open: (directory: string) => Promise<Subject>): void {
  test('a windlass that is killed leaves nothing there, and the next one completes', async () => {
    await using proxy = await startProxy(bed.registry.host, 24 << 20)
    await using subject = await open(await bed.makeDirectory(name))
    const windlass = windlassFor(join(bed.root, '..', `store-${name}`), subject.env)
    const args = ['pull', '--into', ...subject.into, `${proxy.host}/debian:latest`]
    const { child, result } = windlass.start(...args)
    await waitUntil('the engine takes something', 60_000, () => subject.hasBegun())
    child.kill('SIGKILL')
    await result
    let left = await subject.left()
    const isGone = async () => {
      left = await subject.left()
      return left.length === 0
    }
    if (subject.isSwept !== false)
      await waitUntil('all is gone', 30_000, isGone).catch(error => assert.fail(`${error}: ${left}`))
    proxy.bytesPerSecond = Number.POSITIVE_INFINITY
    await windlass.run(...args)
    assert.deepEqual(
      (await subject.left()).filter(name => left.includes(name)),
      [],
    )
  })

  test('an engine that dies is told as such', async context => {
    await using proxy = await startProxy(bed.registry.host, 24 << 20)
    await using subject = await open(await bed.makeDirectory(`${name}-dies`))
    const { pid } = subject
    if (pid === undefined) return context.skip('podman is no daemon')
    const windlass = windlassFor(join(bed.root, '..', `store-${name}-dies`), subject.env)
    const { result } = windlass.start('pull', '--into', ...subject.into, `${proxy.host}/debian:latest`)
    await waitUntil('the engine takes something', 60_000, () => subject.hasBegun())
    process.kill(pid, 'SIGKILL')
    const { status, stderr } = await result
    assert.equal(status, 8, stderr)
    assert.match(stderr, /Cannot .*(docker|containerd) at .*: /)
  })

  test('a disk of the engine that is full is told as such, and nothing is published', async () => {
    await using small = await openLoopFilesystem({ sizeBytes: 160 << 20 })
    await using subject = await open(join(small.directory, 'engine'))
    const windlass = windlassFor(join(bed.root, '..', `store-${name}-full`), subject.env)
    const { status, stderr } = await windlass.try('pull', '--into', ...subject.into, bed.refer('debian'))
    assert.equal(status, 7, stderr)
    assert.match(stderr, /no space/i)
    const left = await subject.left()
    assert.deepEqual(left, [])
  })
}
