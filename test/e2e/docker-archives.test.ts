/**
 * What `docker save` writes and `docker load` reads, with the docker of the host, whose format is that of 19.03, too. `WINDLASS_PEERS_ROOT=DIR` adds the newest docker, with
 * both of its stores: its archives are OCI layouts as well, which it loads itself with the containerd store alone, unless they have docker's own description, too.
 */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { runScript } from '../testbed/command.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { type Engines, hostEngines, newestEngines } from '../testbed/newest.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { openWindlass, type Windlass, windlassProgram } from '../testbed/windlass.ts'

interface Kind {
  readonly name: string
  readonly engines: Engines
  readonly flags: readonly string[]
  readonly formats: readonly string[]
}

const newest = newestEngines()
const both = ['docker-archive', 'oci-archive']
const containerdStore = ['--feature', 'containerd-snapshotter=true', '--storage-driver', 'overlayfs']
const kinds: readonly Kind[] = [
  { name: 'docker', engines: hostEngines, flags: [], formats: ['docker-archive'] },
  ...(newest === undefined
    ? []
    : [
        { name: 'newest docker', engines: newest, flags: [], formats: ['docker-archive'] },
        { name: 'newest docker with the containerd store', engines: newest, flags: containerdStore, formats: both },
      ]),
]

let bed: Testbed
before(async () => {
  bed = await openTestbed()
})
after(async () => await bed?.[Symbol.asyncDispose]())

for (const kind of kinds) describe(kind.name, () => testKind(kind))

function testKind({ name: kind, engines, flags, formats }: Kind): void {
  let docker: TestDocker
  let directory: string
  let stores = 0

  before(async () => {
    directory = await bed.makeDirectory(kind.replaceAll(' ', '-'))
    docker = await startDocker(join(directory, 'data'), undefined, engines, flags)
  })
  after(async () => await docker?.[Symbol.asyncDispose]())

  const newWindlass = (): Windlass => openWindlass(join(directory, `store-${++stores}`))
  const layersIn = async (name: string): Promise<unknown> =>
    JSON.parse(await docker.docker(['image', 'inspect', '-f', '{{json .RootFS.Layers}}', name]))
  const layersOf = async (windlass: Windlass, name: string): Promise<unknown> =>
    JSON.parse(await windlass.run('inspect', name))[0].RootFS.Layers

  test('what it saves is loaded: several images, one with two names, layers that they share, through a pipe or packed', async () => {
    const names = [bed.refer('multi'), bed.refer('odd')]
    for (const name of names) await docker.docker(['pull', '-q', name])
    const second = `${bed.refer('odd').replace(':latest', '')}:second`
    await docker.docker(['tag', bed.refer('odd'), second])
    const all = [...names, second]
    const file = join(directory, 'saved.tar')
    await docker.docker(['save', '-o', file, ...all])
    const there = newWindlass()
    assert.deepEqual((await there.run('load', '-q', '-i', file)).split('\n').toSorted(), all.toSorted())
    for (const name of all) assert.deepEqual(await layersOf(there, name), await layersIn(name), name)
    const root = join(directory, 'store-piped')
    const piped = await runScript('gzip -1 <"$1" | "$2" --root "$3" load -q', [file, windlassProgram, root])
    assert.deepEqual(piped.split('\n').toSorted(), all.toSorted())
    const id = await docker.docker(['image', 'inspect', '-f', '{{.Id}}', names[1] as string])
    // By its ID, an image has no name.
    await docker.docker(['save', '-o', file, id])
    assert.match(await newWindlass().run('load', '-i', file), /^Loaded image ID: sha256:/)
    for (const name of all) await docker.docker(['rmi', name])
  })

  test('what is saved for it is loaded by it, and completed by it where layers are left out', async () => {
    const home = newWindlass()
    const base = bed.refer('multi')
    const next = `${bed.registry.host}/next:1`
    await home.run('pull', '-q', base)
    const files = await bed.makeDirectory(`files-${kind.replaceAll(' ', '-')}`)
    await writeFile(join(files, 'new'), kind)
    await home.run('pack', '--base', base, files, next)
    for (const format of formats) {
      const old = join(directory, `old-${format}.tar`)
      const file = join(directory, `next-${format}.tar`)
      await home.run('save', '--format', format, '-o', old, base)
      await docker.docker(['load', '-q', '-i', old])
      assert.deepEqual(await layersIn(base), await layersOf(home, base))
      await home.run('save', '--format', format, '-o', file, next)
      await docker.docker(['load', '-q', '-i', file])
      assert.deepEqual(await layersIn(next), await layersOf(home, next))
      await docker.docker(['rmi', next])
    }
    if (flags.length > 0) return // It reads docker's archives into blobs, which are then not all there.
    const file = join(directory, 'since.tar')
    await home.run('save', '--since', base, '-o', file, next)
    await docker.docker(['load', '-q', '-i', file])
    assert.deepEqual(await layersIn(next), await layersOf(home, next))
    for (const name of [next, base]) await docker.docker(['rmi', name])
    await assert.rejects(docker.docker(['load', '-q', '-i', file]))
  })
}
