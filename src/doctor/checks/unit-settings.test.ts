import assert from 'node:assert/strict'
import { test } from 'node:test'
import { codesOf, makeEngine, runCheck } from '../../../test/checked.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { unitSettings } from './unit-settings.ts'

const unit = '/usr/lib/systemd/system/docker.service'
const dropIn = '/etc/systemd/system/docker.service.d/pigz.conf'
const group = {
  '/proc/7/cgroup': '12:pids:/system.slice/docker.service\n1:name=systemd:/system.slice/docker.service\n0::/\n',
}

/** What is found where the files are these, and the process has these variables. */
async function look(files: Readonly<Record<string, string>>, environment: readonly [string, string][]) {
  const engine = makeEngine(7, { environment: new Map(environment) })
  return await runCheck(unitSettings, new FixtureHost({ files: { ...group, ...files } }), { engines: [engine] })
}

test('what a drop-in sets and the running process has not waits for a restart', async () => {
  const files = {
    [unit]: '[Service]\nExecStart=/usr/bin/dockerd\n',
    [dropIn]: '[Service]\nEnvironment=MOBY_DISABLE_PIGZ=true\n',
  }
  const [finding] = await look(files, [['PATH', '/usr/bin']])
  assert.equal(finding?.code, 'SETTING_NOT_LOADED')
  assert.equal(finding?.evidence[0], `${dropIn} sets MOBY_DISABLE_PIGZ=true; the running process has no such variable`)
  assert.deepEqual(codesOf(await look(files, [['MOBY_DISABLE_PIGZ', 'true']])), [])
})

test('another proxy in the file than in the process is told without its password', async () => {
  const text = '[Service]\nEnvironment="HTTPS_PROXY=http://ann:secret@new:3128" \\\n  NO_PROXY=localhost\n'
  const [finding] = await look({ [dropIn]: text }, [
    ['HTTPS_PROXY', 'http://old:3128'],
    ['NO_PROXY', 'localhost'],
  ])
  assert.deepEqual(finding?.evidence, [
    `${dropIn} sets HTTPS_PROXY=http://…@new:3128; the running process has http://old:3128`,
  ])
})

test('files of variables are read, and count more than what the unit itself sets, wherever they are named', async () => {
  const files = {
    [unit]: '[Service]\nEnvironmentFile=-/etc/default/docker\nEnvironment=SECRET=x\n',
    '/etc/default/docker': '# comment\nexport MOBY_DISABLE_PIGZ="true"\nHTTP_PROXY=http://a:1\n',
    [dropIn]:
      '[Service]\nEnvironment=HTTP_PROXY=http://b:1 HTTPS_PROXY=http://c:1\nEnvironment=HTTPS_PROXY=http://d:1\n',
  }
  const [finding] = await look(files, [
    ['MOBY_DISABLE_PIGZ', 'true'],
    ['HTTPS_PROXY', 'http://d:1'],
  ])
  assert.deepEqual(finding?.evidence, [
    '/etc/default/docker sets HTTP_PROXY=http://a:1; the running process has no such variable',
  ])
  const loaded = await look(files, [
    ['MOBY_DISABLE_PIGZ', 'true'],
    ['HTTP_PROXY', 'http://a:1'],
    ['HTTPS_PROXY', 'http://d:1'],
  ])
  assert.deepEqual(codesOf(loaded), [])
})

test('of files of variables the last that is named counts', async () => {
  const files = {
    [unit]: '[Service]\nEnvironmentFile=/etc/a\n',
    [dropIn]: '[Service]\nEnvironmentFile=/etc/b\n',
    '/etc/a': 'PIGZ=-p1\n',
    '/etc/b': 'PIGZ=-p2\n',
  }
  assert.deepEqual(codesOf(await look(files, [['PIGZ', '-p2']])), [])
  assert.deepEqual(codesOf(await look(files, [['PIGZ', '-p1']])), ['SETTING_NOT_LOADED'])
})

test('an empty assignment forgets what was set in the same way before it, and nothing else', async () => {
  const waits = async (text: string) => {
    const files = {
      [unit]: '[Service]\nEnvironment=PIGZ=-p1\nEnvironmentFile=/etc/default/docker\n',
      '/etc/default/docker': 'HTTP_PROXY=http://a:1\n',
      [dropIn]: `[Service]\n${text}`,
    }
    const [finding] = await look(files, [])
    return finding?.evidence.map(line => / sets (\w+)=/.exec(line)?.[1])
  }
  assert.deepEqual(await waits(''), ['PIGZ', 'HTTP_PROXY'])
  assert.deepEqual(await waits('Environment=\n'), ['HTTP_PROXY'])
  assert.deepEqual(await waits('EnvironmentFile= \n'), ['PIGZ'])
  assert.deepEqual(await waits('EnvironmentFile=\nEnvironmentFile=/etc/default/docker\nEnvironment=\n'), ['HTTP_PROXY'])
  assert.deepEqual(await waits('Environment=\nEnvironmentFile=\n'), undefined)
})

test('a line behind the word export, which systemd does not read, never holds, and takes nothing from one that does', async () => {
  const lines = (text: string) => ({
    [unit]: '[Service]\nEnvironmentFile=-/etc/default/docker\n',
    '/etc/default/docker': text,
  })
  const [finding] = await look(lines('export MOBY_DISABLE_PIGZ="true"\n'), [])
  assert.deepEqual(finding?.evidence, [
    '/etc/default/docker has export MOBY_DISABLE_PIGZ=true; systemd does not read lines that begin so',
  ])
  const both = lines('PIGZ=-p1\nexport PIGZ=-p4\n')
  assert.deepEqual(codesOf(await look(both, [['PIGZ', '-p1']])), [])
  const [other] = await look(lines('export PIGZ=-p4\nPIGZ=-p1\n'), [])
  assert.match(other?.evidence[0] ?? '', /sets PIGZ=-p1; the running process has no such variable/)
})

test('the unit of a user, or one in a container, is not that of the same name on the host', async () => {
  const files = { [unit]: '[Service]\n', [dropIn]: '[Service]\nEnvironment=MOBY_DISABLE_PIGZ=true\n' }
  const foundIn = async (path: string, first = '0::/init.scope\n') =>
    codesOf(await look({ ...files, '/proc/7/cgroup': `0::${path}\n`, '/proc/1/cgroup': first }, []))
  assert.deepEqual(await foundIn('/system.slice/docker.service'), ['SETTING_NOT_LOADED'])
  // The host is itself a container.
  assert.deepEqual(await foundIn('/docker/0123/system.slice/docker.service', '0::/docker/0123/init.scope\n'), [
    'SETTING_NOT_LOADED',
  ])
  for (const path of [
    '/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service',
    '/system.slice/docker-0123.scope/system.slice/docker.service',
    '/docker/0123/system.slice/docker.service',
  ])
    assert.deepEqual(await foundIn(path), [], path)
})

test('of two drop-ins with one name that of the administrator counts', async () => {
  const files = {
    '/usr/lib/systemd/system/docker.service.d/pigz.conf': '[Service]\nEnvironment=PIGZ=-p4\n',
    [dropIn]: '[Service]\nEnvironment=PIGZ=-p1\n',
  }
  assert.deepEqual(codesOf(await look(files, [['PIGZ', '-p1']])), [])
})

test('daemon.json and the running dockerd: what the daemon does not know waits for a restart', async () => {
  const answer = {
    RegistryConfig: {
      InsecureRegistryCIDRs: ['127.0.0.0/8'],
      IndexConfigs: { 'a:5000': { Secure: false } },
      Mirrors: ['https://m.example/'],
    },
  }
  const file = { 'insecure-registries': ['a:5000', 'b:5000'], 'registry-mirrors': ['https://m.example'] }
  const host = new FixtureHost({
    files: { '/etc/docker/daemon.json': JSON.stringify(file) },
    answers: { '/s /info': JSON.stringify(answer) },
  })
  const [finding] = await runCheck(unitSettings, host, { engines: [makeEngine(7, { sockets: ['/s'] })] })
  assert.deepEqual(finding?.evidence, [
    '/etc/docker/daemon.json has insecure-registries b:5000; the running daemon does not',
  ])
})

test('an engine that no unit has started has nothing to compare', async () => {
  const host = new FixtureHost({ files: { '/proc/7/cgroup': '0::/user.slice/session-1.scope\n' } })
  assert.deepEqual(codesOf(await runCheck(unitSettings, host, { engines: [makeEngine(7)] })), [])
})

test('a dockerd of an ordinary user has its daemon.json in his home, and none of root counts for it', async () => {
  const file = (name: string) => JSON.stringify({ 'insecure-registries': [name] })
  const foundWith = async (status: string, environment: Readonly<Record<string, string>>) => {
    const host = new FixtureHost({
      files: {
        '/etc/docker/daemon.json': file('root:1'),
        '/home/a/.config/docker/daemon.json': file('home:1'),
        '/conf/docker/daemon.json': file('conf:1'),
        '/proc/7/status': status,
      },
      answers: { '/s /info': JSON.stringify({ RegistryConfig: { IndexConfigs: {} } }) },
    })
    const engine = makeEngine(7, { sockets: ['/s'], environment: new Map(Object.entries(environment)) })
    return (await runCheck(unitSettings, host, { engines: [engine] })).flatMap(({ evidence }) => evidence)
  }
  const tell = (path: string, name: string) => [`${path} has insecure-registries ${name}; the running daemon does not`]
  const [root, user] = ['Uid:\t0\t0\t0\t0\n', 'Uid:\t1000\t1000\t1000\t1000\n']
  assert.deepEqual(await foundWith(root, { HOME: '/home/a' }), tell('/etc/docker/daemon.json', 'root:1'))
  const inHome = tell('/home/a/.config/docker/daemon.json', 'home:1')
  assert.deepEqual(await foundWith(user, { HOME: '/home/a' }), inHome)
  // Who looks from within its namespace takes it for root's.
  assert.deepEqual(await foundWith(root, { HOME: '/home/a', ROOTLESSKIT_STATE_DIR: '/tmp/r' }), inHome)
  const named = { HOME: '/home/a', XDG_CONFIG_HOME: '/conf' }
  assert.deepEqual(await foundWith(user, named), tell('/conf/docker/daemon.json', 'conf:1'))
  assert.deepEqual(await foundWith(user, { HOME: 'home/a' }), [])
  // A record does not tell.
  assert.deepEqual(await foundWith(user, {}), [])
})
