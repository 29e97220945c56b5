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
    `${hostname()}.example.test`,
    ...['localhost', 'LocalHost.', 'a.localhost', '127.0.0.1', '127.8.7.6', '0.0.0.0'],
    ...['[::1]', '[0:0:0:0:0:0:0:1]', '[::ffff:127.0.0.1]', '[::]', '[::1%25lo]'],
  ])
    assert.ok(isOwnHost(name), name)
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
    assert.ok(!isOwnHost(name), name)
})
