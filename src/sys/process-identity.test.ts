import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasEnded, ownIdentity } from './process-identity.ts'

test('a process is known as long as it runs, and its number does not stand for another one', () => {
  const identity = ownIdentity()
  const [boot = '', namespace = '', pid = '', ticks = ''] = identity.split(' ')
  assert.match(boot, /^[0-9a-f-]{36}$/)
  assert.equal(pid, String(process.pid))
  assert.ok(!hasEnded(identity))
  assert.ok(hasEnded([boot, namespace, pid, Number(ticks) - 1].join(' ')))
  assert.ok(hasEnded([boot, namespace, 4_194_304, ticks].join(' ')), 'there is no such process')
})

test('what ran before the host was started has ended; of another PID namespace nothing is known', () => {
  const [boot = '', namespace = '', , ticks = ''] = ownIdentity().split(' ')
  assert.ok(hasEnded([boot.replace(/^./, 'x'), namespace, process.pid, ticks].join(' ')))
  assert.ok(!hasEnded([boot, 'pid:[1]', 4_194_304, ticks].join(' ')))
  assert.ok(!hasEnded(''))
  assert.ok(!hasEnded('something else'))
})
