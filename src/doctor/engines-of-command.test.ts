import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import type { ProcessTable } from '../sys/process-files.ts'
import { enginesOf } from './engines-of-command.ts'

const docker = makeEngine(7, { sockets: ['/var/run/docker.sock'] })
const its = makeEngine(8, { kind: 'containerd', sockets: ['/var/run/docker/containerd/containerd.sock'] })
const itsContainerd = { ...its, process: { ...its.process, parent: 7 } }
const other = makeEngine(9, { sockets: ['/tmp/other.sock'] })
const podman = makeEngine(12, { kind: 'podman' })
const all = [docker, itsContainerd, other, podman]
const table: ProcessTable = new Map(
  [
    [10, 1],
    [11, 10],
    [12, 11],
  ].map(([pid = 0, parent = 0]) => [pid, { ...docker.process, pid, parent }]),
)

async function meant(
  words: readonly string[],
  {
    pid = 99,
    env = {},
    files = {},
  }: { pid?: number; env?: Record<string, string>; files?: Record<string, string> } = {},
) {
  const isMeant = await enginesOf(new FixtureHost({ files }), { pid, words, env })
  return all.filter(engine => isMeant(engine, all, table)).map(({ process }) => process.pid)
}

test('the engine of a command is the one whose socket it names, in whichever way', async () => {
  for (const words of [
    ['docker', '-H', 'unix:///tmp/other.sock', 'pull', 'x'],
    ['sudo', 'docker', '--host=unix:///tmp/other.sock', 'pull', 'x'],
    ['crictl', '--image-endpoint', '/tmp/other.sock', 'pull', 'x'],
  ])
    assert.deepEqual(await meant(words), [9], words.join(' '))
  assert.deepEqual(await meant(['docker', 'pull', 'x'], { env: { DOCKER_HOST: 'unix:///tmp/other.sock' } }), [9])
})

test('else the one where such commands find it, with the containerd that a dockerd has started', async () => {
  assert.deepEqual(await meant(['sudo', '/usr/bin/docker', 'pull', 'x']), [7, 8])
})

test('a command that pulls by itself, or starts what does', async () => {
  assert.deepEqual(await meant(['sh', '-c', 'podman pull x'], { pid: 10 }), [12])
})

test('where nothing tells, all are looked at', async () => {
  assert.deepEqual(await meant(['my-puller']), [7, 8, 9, 12])
  assert.deepEqual(await meant(['ctr', 'images', 'pull', 'x']), [7, 8, 9, 12])
})

test('a command that asks another host has no engine here but what it starts itself', async () => {
  const files = { '/h/.docker/config.json': '{"currentContext":"node"}' }
  const env = { HOME: '/h' }
  assert.deepEqual(await meant(['docker', 'pull', 'x'], { env, files }), [])
  assert.deepEqual(await meant(['sudo', 'docker', '-H', 'ssh://node', 'pull', 'x']), [])
  assert.deepEqual(await meant(['docker', 'pull', 'x'], { env: { DOCKER_HOST: 'tcp://node:2375' } }), [])
  assert.deepEqual(await meant(['docker', 'pull', 'x'], { env: { DOCKER_HOST: 'tcp://127.0.0.1:2375' } }), [7, 8])
  assert.deepEqual(await meant(['docker', '-c', 'default', 'pull', 'x'], { env, files }), [7, 8])
  assert.deepEqual(await meant(['podman', '--remote', 'pull', 'h.test/x'], { pid: 10 }), [12])
})
