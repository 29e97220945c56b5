import assert from 'node:assert/strict'
import { hostname } from 'node:os'
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

test('each spelling of this host is this host, as each client reads it', async () => {
  for (const host of [
    ...[
      'localhost:2375',
      '127.0.0.1:2375',
      ':2375',
      'tcp://',
      'tcp://localhost',
      'tcp://:2376',
      'tcp://0.0.0.0:2375',
      '',
    ],
    ...['unix://', 'tcp://[::1]:2376', 'ssh://root@localhost', `tcp://${hostname()}:2376`, `${hostname()}:2376`],
    ...['/var/run/docker.sock', 'unix:///run/docker.sock'],
  ]) {
    assert.deepEqual(await meant(['docker', '-H', host, 'pull', 'x']), [7, 8], host)
    assert.deepEqual(await meant(['docker', 'pull', 'x'], { env: { DOCKER_HOST: host } }), [7, 8], host)
  }
  const full = `tcp://${hostname()}.example.test:2376`
  for (const host of ['node:2375', 'tcp://node', 'ssh://root@node', '192.0.2.1:2375', 'tcp://[2001:db8::7]:2376', full])
    assert.deepEqual(await meant(['docker', '-H', host, 'pull', 'x']), [], host)
  const files = { '/etc/hosts': `127.0.1.1 ${hostname()}.example.test\n` }
  assert.deepEqual(await meant(['docker', '-H', full, 'pull', 'x'], { files }), [7, 8])
  const other = '/tmp/other.sock'
  for (const spelling of [other, `unix:${other}`, `unix://${other}`]) {
    assert.deepEqual(await meant(['crictl', '-r', spelling, 'pull', 'x']), [9], spelling)
    assert.deepEqual(await meant(['podman', '--url', spelling, 'pull', 'h.test/x']), [9], spelling)
  }
  // A path from where it was called: of this host, whichever engine that is.
  assert.deepEqual(await meant(['ctr', '-a', 'run/containerd.sock', 'images', 'pull', 'h.test/x']), [7, 8, 9, 12])
})

test('who becomes another user takes along what is told to be kept', async () => {
  const files = { '/h/.docker/config.json': '{"currentContext":"node"}' }
  const env = { HOME: '/h', DOCKER_HOST: 'tcp://node:2375' }
  for (const program of ['sudo', '/usr/bin/doas', 'pkexec']) {
    assert.deepEqual(await meant([program, 'docker', 'pull', 'x'], { env: { HOME: '/h' }, files }), [7, 8], program)
    assert.deepEqual(await meant([program, 'docker', 'pull', 'x'], { env, files }), [7, 8], program)
  }
  const socket = { DOCKER_HOST: 'unix:///tmp/other.sock' }
  assert.deepEqual(await meant(['sudo', 'docker', 'pull', 'x'], { env: socket }), [7, 8])
  for (const kept of [['-nE'], ['DOCKER_HOST=unix:///tmp/other.sock']])
    assert.deepEqual(await meant(['sudo', ...kept, 'docker', 'pull', 'x'], { env: socket }), [9], kept.join())
  assert.deepEqual(await meant(['runuser', '-u', 'ann', '--', 'docker', 'pull', 'x'], { env: socket }), [9])
  assert.deepEqual(await meant(['env', 'DOCKER_HOST=tcp://node', 'docker', 'pull', 'x']), [])
})

test('what a shell is given to run counts as well, if it is nothing but words', async () => {
  const env = { HOME: '/h', DOCKER_HOST: 'tcp://node:2375' }
  assert.deepEqual(await meant(['su', 'ann', '-c', 'docker pull x'], { env }), [])
  assert.deepEqual(await meant(['su', '-lc', 'docker pull x', 'ann'], { env }), [7, 8])
  assert.deepEqual(await meant(['su', '-', '--command', 'DOCKER_HOST=tcp://node docker pull x']), [])
  assert.deepEqual(await meant(['sudo', 'sh', '-ec', ' exec docker -H unix:///tmp/other.sock pull x '], { env }), [9])
  assert.deepEqual(await meant(['sudo', 'sh', '-c', 'su ann -c docker'], { env }), [7, 8])
  for (const script of ['docker pull x; y', 'docker pull $X', 'docker\npull x', "docker 'pull' x"])
    assert.deepEqual(await meant(['sh', '-c', script]), [7, 8, 9, 12], script)
  assert.deepEqual(await meant(['my-puller', '-c', 'docker pull x']), [7, 8, 9, 12])
})

test('the settings of root are his alone', async () => {
  const files = {
    '/etc/nerdctl/nerdctl.toml': 'address = "/tmp/other.sock"\n',
    '/h/.config/nerdctl/nerdctl.toml': 'address = "tcp://node:2375"\n',
  }
  const env = { HOME: '/h' }
  const pull = ['nerdctl', 'pull', 'x']
  for (const words of [
    ['sudo'],
    ['sudo', '-u', 'root'],
    ['sudo', '-nuroot'],
    ['sudo', '-u', '#0'],
    ['runuser', '-u', 'ann', '--', 'sudo'],
  ])
    assert.deepEqual(await meant([...words, ...pull], { env, files }), [9], words.join(' '))
  assert.deepEqual(await meant(['su', '-c', pull.join(' ')], { env, files }), [9])
  assert.deepEqual(await meant(['sudo', '-Eu', 'ann', ...pull], { env, files }), [])
  assert.deepEqual(await meant(['su', '-m', 'ann', '-c', pull.join(' ')], { env, files }), [])
  for (const words of [
    ['sudo', '-u', 'ann'],
    ['sudo', 'sudo', '-nuann'],
    ['doas', '-u', 'ann'],
    ['runuser', '-u', 'ann', '--'],
  ])
    assert.deepEqual(await meant([...words, ...pull], { env, files }), [7, 8, 9, 12], words.join(' '))
})

test('what env takes away tells nothing', async () => {
  const env = { HOME: '/h', DOCKER_HOST: 'tcp://node:2375' }
  for (const before of [
    ['-u', 'DOCKER_HOST'],
    ['--unset=DOCKER_HOST'],
    ['-i'],
    ['-'],
    ['-S', '-u DOCKER_HOST'],
    ['-iC', '/srv/docker'],
  ])
    assert.deepEqual(await meant(['env', ...before, 'docker', 'pull', 'x'], { env }), [7, 8], before.join(' '))
  for (const before of [
    ['-u', 'DOCKER'],
    ['-C', '/srv/docker'],
    ['-S', 'A=b'],
  ])
    assert.deepEqual(await meant(['env', ...before, 'docker', 'pull', 'x'], { env }), [], before.join(' '))
  assert.deepEqual(await meant(['env', '-S', '-i docker pull x'], { env }), [7, 8])
  assert.deepEqual(await meant(['env', '-S', 'docker pull x'], { env }), [])
  const socket = { DOCKER_HOST: 'unix:///tmp/other.sock' }
  assert.deepEqual(await meant(['env', '-S', '-u DOCKER_HOST docker compose pull'], { env: socket }), [7, 8])
})

test('a client that does something else than to pull asks where it would ask for a pull', async () => {
  const env = { DOCKER_HOST: 'tcp://node:2375' }
  const context = { env: { HOME: '/h' }, files: { '/h/.docker/config.json': '{"currentContext":"node"}' } }
  for (const rest of [
    ['compose', 'pull'],
    ['compose', '-f', 'a.yml', 'up'],
    ['build', '-c', '5', '.'],
    ['run', 'docker'],
    ['load'],
  ]) {
    const line = rest.join(' ')
    assert.deepEqual(await meant(['docker', ...rest]), [7, 8], line)
    assert.deepEqual(await meant(['docker', ...rest], { env }), [], line)
    assert.deepEqual(await meant(['docker', '-D', ...rest], context), [], line)
    assert.deepEqual(await meant(['sudo', 'docker', ...rest], { env }), [7, 8], line)
    assert.deepEqual(await meant(['docker', '-H', 'unix:///tmp/other.sock', ...rest], { env }), [9], line)
    for (const far of [['-DH', 'node:2375'], ['--host=ssh://node'], ['--context', 'node'], ['-c', 'node']])
      assert.deepEqual(await meant(['docker', ...far, ...rest]), [], `${far.join(' ')} ${line}`)
  }
  assert.deepEqual(await meant(['docker', '--new-option', 'compose', 'pull'], { env }), [7, 8])
  assert.deepEqual(await meant(['podman', '--remote', 'build', '.'], { pid: 10 }), [12])
})

test('the name of a user or of a group is no client', async () => {
  const env = { HOME: '/h', DOCKER_HOST: 'tcp://node:2375' }
  for (const script of ['docker pull x', 'docker compose pull']) {
    assert.deepEqual(await meant(['sg', 'docker', '-c', script], { env }), [], script)
    assert.deepEqual(await meant(['sg', 'docker', '-c', script]), [7, 8], script)
    assert.deepEqual(await meant(['/bin/su', 'docker', '-c', `env -i ${script}`], { env }), [7, 8], script)
    assert.deepEqual(await meant(['su', '-', 'docker', '-c', `env DOCKER_HOST=node:1 ${script}`]), [], script)
  }
  // In the place of a value, but without one.
  assert.deepEqual(await meant(['nsenter', '-u', 'docker', '-H', 'node:1', 'pull', 'x']), [])
  const names = ['sudo', '-u', 'docker', '-g', 'docker', 'env', 'DOCKER_HOST=tcp://node']
  assert.deepEqual(await meant([...names, 'docker', 'compose', 'pull']), [])
  const files = { '/etc/nerdctl/nerdctl.toml': 'address = "/tmp/other.sock"\n' }
  const asAnn = ['runuser', '-u', 'ann', '--', 'sudo', '-g', 'staff', 'nerdctl', 'pull', 'x']
  assert.deepEqual(await meant(asAnn, { files }), [7, 8, 9, 12])
  assert.deepEqual(await meant(asAnn.slice(4), { files }), process.getuid?.() === 0 ? [9] : [7, 8, 9, 12])
})
