/** Images through other tools and back, digests compared: those of the host, and the newest of the folder that WINDLASS_PEERS_ROOT names, with crane. */
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type DockerRegistry, startDockerRegistry } from '../servers/docker-registry.ts'
import { type Engines, hostEngines, newestEngines, runOf } from '../testbed/newest.ts'
import { openPodman } from '../testbed/podman.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { openWindlass, type Windlass } from '../testbed/windlass.ts'

let bed: Testbed
let registry: DockerRegistry
let windlass: Windlass
let directory: string
let digest: string

before(async () => {
  bed = await openTestbed()
  registry = await startDockerRegistry()
  windlass = openWindlass(await bed.makeDirectory('round-store'))
  directory = await bed.makeDirectory('round')
  digest = await copy(`docker://${bed.refer('odd')}`, `docker://${registry.host}/start:1`)
})
after(async () => {
  await registry?.[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

/** @returns the digest that windlass tells */
function copy(from: string, to: string): Promise<string> {
  return windlass.run('copy', from, to)
}

let rounds = 0

/** A directory that both sides know by the same path, and a name in the registry. */
async function newRound(): Promise<{ path: (name: string) => string; name: string }> {
  const round = `round-${rounds++}`
  await mkdir(join(directory, round))
  return { path: name => join(directory, round, name), name: `${registry.host}/${round}:1` }
}

type Trip = (engines: Engines, round: Awaited<ReturnType<typeof newRound>>) => Promise<void>

const trips: Readonly<Record<string, Trip>> = {
  'skopeo, from our layout to the registry': async (engines, { path, name }) => {
    await copy(`docker://${registry.host}/start:1`, `oci:${path('layout')}:it`)
    const skopeo = ['skopeo', 'copy', '-q', '--insecure-policy', '--dest-tls-verify=false', '--preserve-digests']
    await runOf(engines, [...skopeo, `oci:${path('layout')}:it`, `docker://${name}`])
  },
  'skopeo, from the registry to its archive, and we read it': async (engines, { path, name }) => {
    const skopeo = ['skopeo', 'copy', '-q', '--insecure-policy', '--src-tls-verify=false', '--preserve-digests']
    await runOf(engines, [...skopeo, `docker://${registry.host}/start:1`, `oci-archive:${path('it.tar')}:it`])
    await copy(`oci-archive:${path('it.tar')}:it`, `docker://${name}`)
  },
  'umoci, which tags in our layout': async (engines, { path, name }) => {
    await copy(`docker://${registry.host}/start:1`, `oci:${path('layout')}:it`)
    await runOf(engines, ['umoci', 'tag', '--image', `${path('layout')}:it`, 'again'])
    await copy(`oci:${path('layout')}:again`, `docker://${name}`)
  },
}

/** crane is in the newer Debian alone. */
const craneTrips: typeof trips = {
  'crane, from our layout to the registry': async (engines, { path, name }) => {
    await copy(`docker://${registry.host}/start:1`, `oci:${path('layout')}:it`)
    await runOf(engines, ['crane', 'push', '--insecure', path('layout'), name])
  },
  'crane, which pulls a layout, and we read it': async (engines, { path, name }) => {
    const pull = ['crane', 'pull', '--insecure', '--format=oci', `${registry.host}/start:1`, path('layout')]
    await runOf(engines, pull)
    await copy(`oci:${path('layout')}`, `docker://${name}`)
  },
  'crane, which checks what we pushed': async (engines, { name }) => {
    await copy(`docker://${registry.host}/start:1`, `docker://${name}`)
    await runOf(engines, ['crane', 'validate', '--insecure', '--remote', name])
    assert.equal(await runOf(engines, ['crane', 'digest', '--insecure', name]), digest)
  },
}

const newest = newestEngines()
const sides: readonly (readonly [string, Engines, typeof trips])[] = [
  ['of this host', hostEngines, trips],
  ...(newest === undefined ? [] : [['of the folder', newest, { ...trips, ...craneTrips }] as const]),
]

for (const [which, engines, list] of sides)
  for (const [what, trip] of Object.entries(list))
    test(`${what}, ${which}: the digest stays`, async () => {
      const round = await newRound()
      await trip(engines, round)
      assert.equal(await copy(`docker://${round.name}`, `oci:${round.path('back')}:it`), digest)
    })

/** The ID of an image is the digest of its config, which an archive of docker keeps, too. */
for (const [which, engines] of sides)
  test(`podman ${which} and its storage of archives: the ID stays`, async () => {
    const { path } = await newRound()
    const id = async (from: string): Promise<string> => {
      await copy(from, 'store:round/podman:1')
      return JSON.parse(await windlass.run('inspect', 'round/podman:1'))[0].Id
    }
    const wanted = await id(`docker://${registry.host}/start:1`)
    await copy(`docker://${registry.host}/start:1`, `docker-archive:${path('ours.tar')}:round/podman:1`)
    await using podman = await openPodman(path('podman'), undefined, engines)
    await podman.podman('load', '-q', '-i', path('ours.tar'))
    await podman.podman('save', '-q', '-o', path('theirs.tar'), wanted.replace('sha256:', ''))
    assert.equal(await id(`docker-archive:${path('theirs.tar')}`), wanted)
  })
