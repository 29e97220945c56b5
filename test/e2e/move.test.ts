/** Images on their way between registry, store, archives, layouts and other tools, and back. */
import assert from 'node:assert/strict'
import { mkdir, open, readdir, readFile, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type DockerRegistry, startDockerRegistry } from '../servers/docker-registry.ts'
import { run, runScript } from '../testbed/command.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { openPodman } from '../testbed/podman.ts'
import { imageFacts, openTestbed, type Testbed } from '../testbed/testbed.ts'
import { openWindlass, type Windlass, windlassFor, windlassProgram } from '../testbed/windlass.ts'
import { assertSameTree, readTree } from '../tree.ts'
import { isImplied } from './allowances.ts'

let bed: Testbed
let docker: TestDocker
/** An empty one, to be written to. */
let registry: DockerRegistry
let directory: string

before(async () => {
  bed = await openTestbed()
  docker = await startDocker(await bed.makeDirectory('docker'))
  registry = await startDockerRegistry()
  directory = await bed.makeDirectory('archives')
})
after(async () => {
  await registry?.[Symbol.asyncDispose]()
  await docker?.[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

let stores = 0
async function newWindlass(): Promise<Windlass> {
  return openWindlass(await bed.makeDirectory(`store-${stores++}`))
}

async function idOf(windlass: Windlass, name: string): Promise<string> {
  return JSON.parse(await windlass.run('inspect', name))[0].Id
}

async function skopeoDigest(image: string): Promise<string> {
  return JSON.parse(await run('skopeo', ['inspect', '--tls-verify=false', image])).Digest
}

test('the story: pull, save, remove, load, tag, push, remove and pull again, with docker at either end', async () => {
  const windlass = await newWindlass()
  const from = bed.refer('debian-schema2')
  const name = `${registry.host}/team/app:2.4`
  const file = join(directory, 'story.tar')
  await docker.docker(['pull', '-q', from])
  const wanted = await docker.docker(['image', 'inspect', '-f', '{{.Id}}', from])
  await windlass.run('pull', '-q', from)
  await windlass.run('save', '-o', file, from)
  await windlass.run('rmi', from)
  assert.equal(JSON.parse(await windlass.run('info', '--json')).layers, 0)
  assert.equal(await windlass.run('load', '-i', file), `Loaded image: ${from}`)
  await windlass.run('tag', from, name)
  const pushed = await windlass.run('push', '-q', name)
  assert.match(pushed, new RegExp(`^${name}@sha256:`))
  await windlass.run('rmi', from)
  await windlass.run('rmi', name)
  assert.equal(JSON.parse(await windlass.run('info', '--json')).layers, 0)
  assert.equal((await windlass.run('pull', '-q', name)).trim(), pushed.trim())
  assert.equal(await idOf(windlass, name), wanted)
  await docker.docker(['rmi', from])
  await docker.docker(['pull', '-q', name])
  const described = ['image', 'inspect', '-f', '{{.Id}} {{index .RepoDigests 0}}', name]
  assert.equal(await docker.docker(described), `${wanted} ${pushed.replace(/:2\.4@/, '@')}`)
  await docker.docker(['rmi', name])
  await docker.docker(['load', '-q', '-i', file])
  assert.equal(await docker.docker(['image', 'inspect', '-f', '{{.Id}}', from]), wanted)
  assert.match(await docker.docker(['run', '--rm', '--network', 'none', from]), /^hello from root/)
})

test('the same story with a file that docker saved, into docker at the end', async () => {
  const from = bed.refer('debian-schema2')
  const name = `${registry.host}/team/saved:2.4`
  const file = join(directory, 'docker-story.tar')
  await docker.docker(['pull', '-q', from])
  const wanted = await docker.docker(['image', 'inspect', '-f', '{{.Id}}', from])
  await docker.docker(['save', '-o', file, from])
  await docker.docker(['rmi', from])
  const windlass = await newWindlass()
  assert.equal(await windlass.run('load', '-i', file), `Loaded image: ${from}`)
  await windlass.run('tag', from, name)
  const pushed = await windlass.run('push', '-q', name)
  for (const tag of [from, name]) await windlass.run('rmi', tag)
  const into = windlassFor(join(directory, '../store-into'), { DOCKER_HOST: `unix://${docker.socket}` })
  assert.equal(await into.run('pull', '-q', '--into', 'docker', name), pushed)
  assert.equal(await docker.docker(['image', 'inspect', '-f', '{{.Id}}', name]), wanted)
  assert.match(await docker.docker(['run', '--rm', '--network', 'none', name]), /^hello from root/)
})

test('what docker saves, several images in one file and through a pipe, is loaded with the same IDs', async () => {
  const names = [bed.refer('debian'), bed.refer('odd')]
  for (const name of names) await docker.docker(['pull', '-q', name])
  const windlass = await newWindlass()
  const root = join(directory, '../store-docker-save')
  const script = 'docker -H "unix://$1" save "$4" "$5" | "$2" --root "$3" load -q'
  const loaded = await runScript(script, [docker.socket, windlassProgram, root, ...names])
  assert.deepEqual(loaded.split('\n').toSorted(), names.toSorted())
  for (const name of names)
    assert.equal(await idOf(openWindlass(root), name), await docker.docker(['image', 'inspect', '-f', '{{.Id}}', name]))
  assert.equal((await windlass.try('inspect', names[0] as string)).status, 2)
})

test('archives come in any compression', async () => {
  const windlass = await newWindlass()
  const name = bed.refer('odd')
  await windlass.run('pull', '-q', name)
  const file = join(directory, 'odd.tar')
  await windlass.run('save', '-o', file, name)
  for (const compressor of ['gzip', 'zstd', 'xz -0', 'bzip2']) {
    const other = await newWindlass()
    const packed = `${file}.${compressor.split(' ', 1)[0]}`
    await runScript(`${compressor} -c <"$1" >"$2"`, [file, packed])
    assert.equal(await other.run('load', '-q', '-i', packed), name, compressor)
  }
})

test('skopeo reads what is written, and what skopeo writes is read, digests and all', async () => {
  const windlass = await newWindlass()
  const from = bed.refer('multi')
  const digest = await skopeoDigest(`docker://${from}`)
  await windlass.run('copy', `docker://${from}`, `oci:${directory}/layout:multi`)
  assert.equal(await windlass.run('copy', `oci:${directory}/layout:multi`, `docker://${registry.host}/multi:1`), digest)
  assert.equal(await skopeoDigest(`docker://${registry.host}/multi:1`), digest)
  const skopeo = ['copy', '-q', '--all', '--insecure-policy', '--src-tls-verify=false', '--dest-tls-verify=false']
  await run('skopeo', [...skopeo, `docker://${from}`, `oci-archive:${directory}/skopeo.tar:multi`])
  await windlass.run('copy', `oci-archive:${directory}/skopeo.tar:multi`, `docker://${registry.host}/multi:2`)
  assert.equal(await skopeoDigest(`docker://${registry.host}/multi:2`), digest)
  await windlass.run('copy', `docker://${from}`, `oci-archive:${directory}/ours.tar:multi`)
  await run('skopeo', [...skopeo, `oci-archive:${directory}/ours.tar:multi`, `docker://${registry.host}/multi:3`])
  assert.equal(await skopeoDigest(`docker://${registry.host}/multi:3`), digest)
  await run('skopeo', [
    'copy',
    '-q',
    '--insecure-policy',
    '--src-tls-verify=false',
    `docker://${bed.refer('odd')}`,
    `docker-archive:${directory}/skopeo-docker.tar:odd:1`,
  ])
  assert.equal(await windlass.run('load', '-q', '-i', `${directory}/skopeo-docker.tar`), 'odd:1')
})

test('umoci unpacks a layout of ours, and podman loads and saves our archives', async () => {
  const windlass = await newWindlass()
  const name = bed.refer('odd')
  await windlass.run('pull', '-q', name)
  const id = await idOf(windlass, name)
  await windlass.run('copy', `store:${name}`, `oci:${directory}/umoci:odd`)
  await run('umoci', ['unpack', '--image', `${directory}/umoci:odd`, `${directory}/bundle`])
  assert.ok((await readdir(join(directory, 'bundle/rootfs'))).length > 0)
  await using podman = await openPodman(await bed.makeDirectory('podman'))
  for (const format of ['docker-archive', 'oci-archive']) {
    const file = join(directory, `podman-${format}.tar`)
    await windlass.run('save', '--format', format, '-o', file, name)
    await podman.podman('load', '-q', '-i', file)
    assert.equal(`sha256:${await podman.podman('image', 'inspect', '--format', '{{.Id}}', id)}`, id)
    await podman.podman('save', '-q', '--format', format, '-o', `${file}.back`, id)
    const other = await newWindlass()
    await other.run('load', '-q', '-i', `${file}.back`, '--name', 'back:1')
    assert.equal(await idOf(other, 'back:1'), id)
    await podman.podman('rmi', '-f', id)
  }
})

test('a torn or altered archive leaves nothing behind, not even the images before the damage', async () => {
  const windlass = await newWindlass()
  const [first, second] = [bed.refer('repeats'), bed.refer('odd')]
  await windlass.run('pull', '-q', first)
  await windlass.run('pull', '-q', second)
  for (const format of ['docker-archive', 'oci-archive']) {
    const file = join(directory, `damaged-${format}.tar`)
    await windlass.run('save', '--format', format, '-o', file, first, second)
    const bytes = await readFile(file)
    const other = await newWindlass()
    await flip(file, await contentOfLast(file))
    const altered = await other.try('load', '-i', file)
    assert.equal(altered.status, 6, altered.stderr)
    assert.equal(await other.run('images', '-q'), '')
    await truncate(file, Math.floor(bytes.length / 2))
    const torn = await other.try('load', '-i', file)
    assert.equal(torn.status, 6, torn.stderr)
    const piped = await runScript(
      `head -c ${Math.floor(bytes.length / 2)} "$1" | { "$2" --root "$3" load 2>&1 || echo "status $?"; }`,
      [file, windlassProgram, join(directory, '../store-torn')],
    )
    assert.match(piped, /status 6$/)
    assert.equal(await other.run('images', '-q'), '')
  }
})

/** Where the content of the last large file of a tar is. */
async function contentOfLast(file: string): Promise<number> {
  const listing = await run('tar', ['tvRf', file])
  const lines = listing.split('\n').map(line => line.split(/\s+/))
  const last = lines.findLast(([, , , , size]) => Number(size) > 10_000)
  return (Number(last?.[1]?.replace(':', '')) + 1) * 512 + 5000
}

async function flip(file: string, at: number): Promise<void> {
  await using handle = await open(file, 'r+')
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, at)
  await handle.write(Buffer.from([(buffer[0] as number) ^ 0xff]), 0, 1, at)
}

test('an image can be looked into wherever it is: all of its files as a tar, and compared with itself elsewhere', async () => {
  const windlass = await newWindlass()
  const name = bed.refer('odd')
  await windlass.run('pull', '-q', name)
  const [tar, unpacked, got] = ['odd-files.tar', 'odd-unpacked', 'odd-got'].map(file => join(directory, file))
  await windlass.run('get', '-o', tar as string, `docker://${name}`, '/')
  await mkdir(got as string)
  await run('tar', ['-xpf', tar as string, '--numeric-owner', '--xattrs', '--xattrs-include=*', '-C', got as string])
  await windlass.run('unpack', name, unpacked as string)
  assertSameTree(readTree(got as string, imageFacts), readTree(unpacked as string, imageFacts), { ignore: isImplied })
  await docker.docker(['pull', '-q', name])
  const withDocker = windlassFor(await bed.makeDirectory('store-diff'), { DOCKER_HOST: `unix://${docker.socket}` })
  const both = [`docker://${name}`, `docker-daemon:${name}`]
  assert.equal(await withDocker.run('diff', '--exit-code', '--times', ...both), '')
  const script = '"$1" --root "$2" --progress none get "$3" / 2>&1 >/dev/full || echo "status $?"'
  const lost = await runScript(script, [windlassProgram, bed.root, `docker://${name}`])
  assert.match(lost, /Cannot write to stdout: ENOSPC/)
  assert.match(lost, /status 7$/)
  assert.doesNotMatch(lost, /the filesystem of/)
  const other = await windlass.try('diff', '--exit-code', name, `docker://${bed.refer('debian')}`)
  assert.equal(other.status, 10, other.stderr)
  assert.match(other.stdout, /^[ADC] \/\S/m)
})

test('what a registry has under another name is mounted, not sent', async () => {
  const windlass = await newWindlass()
  const name = bed.refer('debian')
  await windlass.run('copy', `docker://${name}`, `docker://${registry.host}/first:1`)
  const before = registry.log.filter(line => /PATCH|PUT.*uploads/.test(line)).length
  await windlass.run('copy', `docker://${registry.host}/first:1`, `docker://${registry.host}/second:1`)
  assert.equal(registry.log.filter(line => /PATCH|PUT.*uploads/.test(line)).length, before)
  assert.ok(
    registry.log.some(line => line.includes('mount=sha256')),
    registry.log.slice(-5).join('\n'),
  )
})

test('a packed directory gives the same image in any store, and docker runs it', async () => {
  const base = bed.refer('debian')
  const files = await bed.makeDirectory('files')
  await writeFile(join(files, 'say'), '#!/bin/sh\necho packed $WHO\n', { mode: 0o755 })
  await utimes(join(files, 'say'), 1_600_000_000, 1_600_000_000)
  const digests = []
  for (const to of ['one', 'two']) {
    const windlass = await newWindlass()
    await windlass.run('pull', '-q', base)
    const name = `${registry.host}/packed:${to}`
    const packed = await windlass.run('pack', '--base', base, '--entrypoint', '/say', '--env', 'WHO=up', files, name)
    await windlass.run('push', '-q', name)
    digests.push(packed.replace(/.*@/, ''))
  }
  assert.equal(digests[0], digests[1])
  const run = ['run', '--rm', '--network', 'none', `${registry.host}/packed:one`]
  assert.equal(await docker.docker(run), 'packed up')
})
