import assert from 'node:assert/strict'
import { hostname, networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { isOwnHost } from './own-host.ts'

test('this host is known by its name, its addresses and loopback, however they are written', () => {
  const own = Object.values(networkInterfaces()).flatMap(found =>
    (found ?? []).map(({ address }) => (address.includes(':') ? `[${address}]` : address)),
  )
  for (const name of [
    ...own,
    hostname(),
    hostname().toUpperCase(),
    ...['localhost', 'LocalHost.', 'a.localhost', '127.0.0.1', '127.8.7.6', '0.0.0.0'],
    ...['[::1]', '[0:0:0:0:0:0:0:1]', '[::ffff:127.0.0.1]', '[::]', '[::1%25lo]'],
  ])
    assert.ok(isOwnHost(name, { hosts: '' }), name)
})

test('and no other is', () => {
  for (const name of [
    'node',
    'localhost.example.test',
    `x${hostname()}`,
    '192.0.2.7',
    '[2001:db8::7]',
    '128.0.0.1',
    '',
    'a b',
  ])
    assert.ok(!isOwnHost(name, { hosts: '' }), name)
})

test('a name with a domain is ours where this host is called so, or /etc/hosts leads it to an address of ours', () => {
  const own = Object.values(networkInterfaces()).flatMap(found => (found ?? []).map(({ address }) => address))
  for (const address of ['127.0.1.1', '0.0.0.0', '::1', ...own]) {
    const hosts = `# 127.0.0.1 vm.far.example\n\n${address}\tVM.corp.example vm # vm.far.example\n192.0.2.7 build.corp.example build\n`
    const isOwn = (name: string) => isOwnHost(name, { hosts, hostname: 'vm' })
    const names = ['vm', 'vm.corp.example', 'Vm.Corp.Example.', 'vm.other.example', 'vm.far.example', 'corp.example']
    assert.deepEqual([...names, 'build', 'build.corp.example'].filter(isOwn), names.slice(0, 3), address)
  }
  const isOwn = (name: string) => isOwnHost(name, { hosts: '', hostname: 'VM.corp.example' })
  const names = ['vm', 'vm.corp.example', 'vm.corp', 'vm.corp.example.net', 'vm.other.example', 'v', 'corp.example']
  assert.deepEqual(names.filter(isOwn), names.slice(0, 2))
})
