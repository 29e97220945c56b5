import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isWindlassError } from '../../errors.ts'
import { checkHop, isLoopback } from './http.ts'

test('loopback is known in every spelling, and nothing else is taken for it', () => {
  const loopback = [
    'localhost',
    'LOCALHOST',
    'a.localhost',
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.0.0.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
  ]
  const others = [
    'localhost.test',
    'notlocalhost',
    '128.0.0.1',
    '127.0.0.1.test',
    '[::2]',
    '[::ffff:10.0.0.1]',
    '10.127.0.1',
  ]
  for (const host of loopback) assert.ok(isLoopback(new URL(`http://${host}/`).hostname), host)
  for (const host of others) assert.ok(!isLoopback(new URL(`http://${host}/`).hostname), host)
})

test('a hop never leaves https, never enters this machine from outside, and shows no query', () => {
  const check = (from: string, to: string) => () => checkHop(new URL(from), new URL(to), 'Cannot read')
  const refused = (error: unknown) => {
    return isWindlassError(error, 'PROTOCOL') && !/secret|\?/.test(error.message)
  }
  assert.throws(check('https://a.test', 'http://a.test/?secret'), refused)
  assert.throws(check('https://a.test', 'https://localhost/?secret'), refused)
  assert.throws(check('http://a.test', 'http://[::1]:5000/?secret'), refused)
  assert.throws(check('http://a.test', 'unix:/run/secret'), refused)
  check('https://a.test', 'https://b.test/?secret')()
  check('http://127.0.0.1:1', 'http://127.0.0.1:2/')()
  check('http://127.0.0.1:1', 'https://b.test/')()
})
