import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
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

function meant(words: readonly string[], { pid = 99, env = {} }: { pid?: number; env?: Record<string, string> } = {}) {
  const isMeant = enginesOf({ pid, words, env })
  return all.filter(engine => isMeant(engine, all, table)).map(({ process }) => process.pid)
}

test('the engine of a command is the one whose socket it names, in whichever way', () => {
  for (const words of [
    ['docker', '-H', 'unix:///tmp/other.sock', 'pull', 'x'],
    ['sudo', 'docker', '--host=unix:///tmp/other.sock', 'pull', 'x'],
    ['crictl', '--image-endpoint', '/tmp/other.sock', 'pull', 'x'],
  ])
    assert.deepEqual(meant(words), [9], words.join(' '))
  assert.deepEqual(meant(['docker', 'pull', 'x'], { env: { DOCKER_HOST: 'unix:///tmp/other.sock' } }), [9])
})

test('else the one where such commands find it, with the containerd that a dockerd has started', () => {
  assert.deepEqual(meant(['sudo', '/usr/bin/docker', 'pull', 'x']), [7, 8])
})

test('a command that pulls by itself, or starts what does', () => {
  assert.deepEqual(meant(['sh', '-c', 'podman pull x'], { pid: 10 }), [12])
})

test('where nothing tells, all are looked at', () => {
  assert.deepEqual(meant(['my-puller']), [7, 8, 9, 12])
  assert.deepEqual(meant(['ctr', 'images', 'pull', 'x']), [7, 8, 9, 12])
})
