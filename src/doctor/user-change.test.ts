import assert from 'node:assert/strict'
import { test } from 'node:test'
import { standingBehind } from './user-change.ts'

const env = { HOME: '/h', USER: 'bob', DOCKER_HOST: 'tcp://node', XDG_CONFIG_HOME: '/x' }

/** The names that are left, and whether it is root that has them. */
function behind(line: string, isRoot = false): string {
  const standing = standingBehind(line.split(' '), { env: new Map(Object.entries(env)), isRoot })
  return [standing.isRoot ? 'root:' : 'user:', ...standing.env.keys()].join(' ')
}

const [all, host] = ['HOME USER DOCKER_HOST XDG_CONFIG_HOME', 'DOCKER_HOST XDG_CONFIG_HOME']

test('what is no such program changes nothing, and what it is told to set is there', () => {
  assert.equal(behind('nice -n 5'), `user: ${all}`)
  assert.equal(behind('nice -n 5', true), `root: ${all}`)
  assert.equal(behind('env A=b'), `user: ${all} A`)
  assert.equal(standingBehind(['env', 'HOME=/y=z'], { env: new Map(), isRoot: true }).env.get('HOME'), '/y=z')
})

test('sudo hands on what it is told to, wherever that letter stands among others', () => {
  for (const line of [
    'sudo',
    'sudo -n',
    'sudo -u E',
    'sudo -uE',
    'sudo -p -E',
    'sudo nice -E',
    'sudo -- -E',
    'sudo -i',
  ])
    assert.equal(behind(line, true).replace(/^user/, 'root'), 'root:', line)
  for (const line of ['sudo -E', 'sudo -nE', 'sudo -En', 'sudo --preserve-env', 'sudo -n --preserve-env -S'])
    assert.equal(behind(line), `root: ${all}`, line)
  for (const line of ['sudo -EH', 'sudo -HE', 'sudo -nHE', 'sudo -E --set-home'])
    assert.equal(behind(line), 'root: USER DOCKER_HOST XDG_CONFIG_HOME', line)
  assert.equal(behind('sudo --preserve-env=A,DOCKER_HOST --preserve-env=USER'), 'root: USER DOCKER_HOST')
  assert.equal(behind('sudo A=b -E'), `root: ${all} A`)
  assert.equal(behind('A=b sudo C=d'), 'root: C')
})

test('su and runuser hand on all but what is of the user himself, unless they log him in', () => {
  for (const program of ['su', '/usr/sbin/runuser']) {
    for (const line of ['', ' -s /bin/sh', ' -c id root', ' -P root', ' -c -l', ' --session-command id root'])
      assert.equal(behind(`${program}${line}`), `root: ${host}`, line)
    for (const line of [' ann', ' -s /bin/sh ann', ' -- ann', ' ann -', ' -c id ann'])
      assert.equal(behind(`${program}${line}`, true), `user: ${host}`, line)
    for (const line of [' -m', ' -p root', ' --preserve-environment'])
      assert.equal(behind(`${program}${line}`), `root: ${all}`, line)
    for (const line of [' -', ' -l', ' --login root', ' -lc id', ' -ml', ' - root'])
      assert.equal(behind(`${program}${line}`), 'root:', line)
    assert.equal(behind(`${program} - ann`, true), 'user:')
    assert.equal(behind(`${program} -lw HOME,DOCKER_HOST ann`, true), 'user: DOCKER_HOST')
  }
  assert.equal(behind('runuser -u ann -- env A=b', true), `user: ${host} A`)
  assert.equal(behind('runuser --user=ann env', true), `user: ${host}`)
})

test('another user than root is not root, and each program goes on from the one before', () => {
  for (const line of ['sudo -u ann', 'sudo -uann', 'sudo -nu ann', 'sudo --user=ann', 'sudo --user ann', 'sudo -u #7'])
    assert.equal(behind(line, true), 'user:', line)
  for (const line of ['sudo -u root', 'sudo -u #0', 'doas', 'pkexec', 'sudo -g staff -u root'])
    assert.equal(behind(line), 'root:', line)
  for (const line of ['doas -u ann', 'pkexec --user ann']) assert.equal(behind(line, true), 'user:', line)
  assert.equal(behind('sudo su ann'), 'user:')
  assert.equal(behind('sudo -E runuser -u ann'), `user: ${host}`)
  assert.equal(behind('runuser -u ann sudo'), 'root:')
})

test('sudo with a group alone keeps the user', () => {
  for (const line of ['sudo -g staff', 'sudo -ngstaff', 'sudo --group=staff']) {
    assert.equal(behind(line), 'user:', line)
    assert.equal(behind(line, true), 'root:', line)
  }
  assert.equal(behind('sudo -g staff -u ann', true), 'user:')
})

test('env takes away what it is told to, and keeps the user', () => {
  for (const line of [
    'env -i',
    'env -',
    '/usr/bin/env --ignore-environment',
    'env -vi',
    'env -u A -i',
    'env - A=b -u A',
  ])
    assert.equal(behind(line).replace(' A', ''), 'user:', line)
  for (const line of [
    'env -u USER -u HOME',
    'env -uUSER -uHOME',
    'env --unset=USER --unset HOME',
    'env -vu USER -C d -u HOME',
  ])
    assert.equal(behind(line, true), `root: ${host}`, line)
  for (const line of ['env', 'env -C -i', 'env --chdir=-', 'env nice -i', 'env -u XDG', 'env -- -i'])
    assert.equal(behind(line), `user: ${all}`, line)
  assert.equal(behind('env -u USER USER=x -'), 'user: HOME DOCKER_HOST XDG_CONFIG_HOME USER')
  assert.equal(behind('sudo -E env -u USER'), 'root: HOME DOCKER_HOST XDG_CONFIG_HOME')
  assert.equal(behind('env -i sudo -E'), 'root:')
})
