import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../../test/checked.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { type EngineUnit, findUnit, listFollowers } from './unit.ts'

interface Scene {
  readonly group: string
  /** Of the first process; the root's if absent. */
  readonly first?: string
  readonly main?: string
  readonly rootPrefix?: string
  readonly namespace?: string
}

/** What is found for engine 7, whose group has that path. */
async function found({ group, first = '/init.scope', main = '7', ...place }: Scene): Promise<EngineUnit> {
  const { rootPrefix = '', namespace = 'pid:[1]' } = place
  const host = new FixtureHost({
    files: { '/proc/7/cgroup': `9:cpu:/else\n1:name=systemd:${group}\n`, '/proc/1/cgroup': `0::${first}\n` },
    links: { '/proc/7/ns/pid': namespace, '/proc/self/ns/pid': 'pid:[1]' },
  })
  const tell = async (file: string, args: readonly string[]) => {
    assert.deepEqual([file, ...args.slice(0, -1)], ['systemctl', 'show', '-p', 'MainPID'])
    return main === '' ? undefined : `MainPID=${main}\n`
  }
  return await findUnit(Object.assign(host, { tell }), makeEngine(7, { rootPrefix }))
}

test('a unit is that of the engine only if this systemd runs it as its main process', async () => {
  const group = '/system.slice/docker.service'
  assert.deepEqual(await found({ group }), { unit: 'docker.service' })
  assert.deepEqual(await found({ group: '/docker.service' }), { unit: 'docker.service' })
  assert.deepEqual(await found({ group: '/system.slice/system-docker.slice/docker@a\\x2db.service' }), {
    unit: 'docker@a\\x2db.service',
  })
  assert.match((await found({ group, main: '8' })).obstacle ?? '', /main process of docker\.service is 8/)
  assert.match((await found({ group, main: '0' })).obstacle ?? '', /is none/)
  assert.match((await found({ group, main: '' })).obstacle ?? '', /systemctl does not tell/)
  assert.deepEqual(await found({ group: '/user.slice/user-0.slice/session-1.scope' }), {})
})

test('the unit of a user is left to that user', async () => {
  const group = '/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service'
  for (const rootPrefix of ['', '/proc/7/root']) {
    const { unit, obstacle } = await found({ group, rootPrefix })
    assert.equal(unit, undefined)
    assert.match(obstacle ?? '', /as that user, systemctl --user restart docker\.service/)
  }
})

test('of an engine in a container the unit of the same name on the host is left alone', async () => {
  const container = '/system.slice/docker-0123.scope'
  const group = `${container}/system.slice/containerd.service`
  for (const scene of [
    { group },
    { group, rootPrefix: '/proc/7/root' },
    { group: '/system.slice/containerd.service', rootPrefix: '/proc/7/root', main: '8' },
    { group: '/user.slice/user-0.slice/session-1.scope', rootPrefix: '/proc/7/root' },
    { group: '/system.slice/containerd.service', namespace: 'pid:[2]' },
    { group: '/machine.slice/systemd-nspawn@a.service/payload/system.slice/containerd.service' },
  ]) {
    const { unit, obstacle } = await found(scene)
    assert.equal(unit, undefined, JSON.stringify(scene))
    assert.match(obstacle ?? '', /run windlass inside/)
  }
  assert.deepEqual(await found({ group, first: `${container}/init.scope` }), { unit: 'containerd.service' })
})

test('a unit with mounts of its own, as a snap has them, is named and left alone', async () => {
  const group = '/system.slice/snap.docker.dockerd.service'
  const { unit, obstacle } = await found({ group, rootPrefix: '/proc/7/root' })
  assert.equal(unit, undefined)
  assert.match(obstacle ?? '', /systemctl restart snap\.docker\.dockerd\.service$/)
})

test('what systemd stops or restarts with a unit is every service that points back at it', async () => {
  const told =
    'RequiredBy=multi-user.target\nBoundBy=docker.service\nConsistsOf=docker.service a.socket kubelet.service\nPropagatesStopTo=\n'
  const asked: string[][] = []
  const tell = async (file: string, args: readonly string[]) => {
    asked.push([file, ...args])
    return told
  }
  const host = Object.assign(new FixtureHost({}), { tell })
  assert.deepEqual(await listFollowers(host, 'containerd.service'), ['docker.service', 'kubelet.service'])
  assert.deepEqual(asked, [
    ['systemctl', 'show', '-p', 'BoundBy,RequiredBy,ConsistsOf,PropagatesStopTo', 'containerd.service'],
  ])
  const silent = Object.assign(new FixtureHost({}), { tell: async () => undefined })
  assert.equal(await listFollowers(silent, 'containerd.service'), undefined)
})
