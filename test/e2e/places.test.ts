/** The contract of places, held against the engines of this host, and those of the folder that WINDLASS_PEERS_ROOT names. */
import { after, before } from 'node:test'
import { type OpenPlace, type PlaceUnderTest, placeAt } from '../conformance/places.ts'
import { describePlace } from '../conformance/suite.ts'
import { startContainerd, type TestContainerd } from '../testbed/containerd.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { type Engines, hostEngines, newestEngines } from '../testbed/newest.ts'
import { openPodman, type TestPodman } from '../testbed/podman.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'

interface Bed {
  readonly docker: TestDocker
  readonly containerd: TestContainerd
  readonly podman: TestPodman
}

let bed: Testbed
const beds = new Map<Engines, Bed>()
const newest = newestEngines()
const tried = [hostEngines, ...(newest === undefined ? [] : [newest])]

before(async () => {
  bed = await openTestbed()
  for (const [at, engines] of tried.entries()) {
    const docker = await startDocker(await bed.makeDirectory(`docker-${at}`), undefined, engines)
    const containerd = await startContainerd(await bed.makeDirectory(`containerd-${at}`), undefined, engines)
    beds.set(engines, { docker, containerd, podman: await openPodman(await bed.makeDirectory(`podman-${at}`)) })
  }
})
after(async () => {
  for (const engines of beds.values())
    for (const engine of Object.values(engines) as AsyncDisposable[]) await engine[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

let names = 0

/** Each test has a name of its own, since all have one engine. */
function inEngine(engines: Engines, open: (name: string, directory: string, bed: Bed) => PlaceUnderTest): OpenPlace {
  return async directory => {
    const engine = beds.get(engines)
    if (engine === undefined) throw new Error('the engines have not been started')
    return open(`test.example/place-${names++}:tag`, directory, engine)
  }
}

for (const engines of tried) {
  const which = engines === hostEngines ? 'of this host' : 'of the folder'
  describePlace(
    `docker ${which}`,
    inEngine(engines, (name, directory, { docker }) =>
      placeAt(`docker-daemon:${name}`, directory, {
        keepsManifests: false,
        env: { DOCKER_HOST: `unix://${docker.socket}` },
      }),
    ),
  )
  describePlace(
    `containerd ${which}`,
    inEngine(engines, (name, directory, { containerd }) =>
      placeAt(`containerd:${name}`, directory, {
        keepsIndexes: 'one platform',
        env: { CONTAINERD_ADDRESS: containerd.socket },
      }),
    ),
  )
}

describePlace(
  'podman',
  inEngine(hostEngines, (name, directory, { podman }) =>
    placeAt(`containers-storage:${name}`, directory, {
      keepsManifests: false,
      env: { PATH: process.env['PATH'] ?? '', ...podman.env },
    }),
  ),
)
