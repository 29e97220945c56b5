import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isWindlassError } from '../../errors.ts'
import { parseProxies } from './proxy.ts'

const proxies = { HTTP_PROXY: 'plain.test:3128', HTTPS_PROXY: 'https://secure.test' }

test('the scheme of the address decides, upper case is read before lower case, and an empty variable is none', () => {
  const choose = parseProxies(proxies)
  assert.equal(choose(new URL('http://a.test'))?.href, 'http://plain.test:3128/')
  assert.equal(choose(new URL('https://a.test'))?.href, 'https://secure.test/')
  const lower = parseProxies({
    HTTP_PROXY: '',
    http_proxy: 'one.test',
    https_proxy: 'two.test',
    HTTPS_PROXY: 'three.test',
  })
  assert.equal(lower(new URL('http://a.test'))?.host, 'one.test')
  assert.equal(lower(new URL('https://a.test'))?.host, 'three.test')
  assert.equal(parseProxies({})(new URL('https://a.test')), undefined)
})

test('this machine is never reached through a proxy', () => {
  const choose = parseProxies(proxies)
  for (const host of [
    'localhost',
    'localhost:5000',
    '127.0.0.1:5000',
    '127.8.9.1',
    '[::1]:5000',
    'registry.localhost',
  ]) {
    assert.equal(choose(new URL(`https://${host}`)), undefined, host)
  }
})

/** The pattern, what it exempts, and what it does not. */
const rules: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['*', ['a.test', '10.1.2.3', '[fd00::1]:5000'], []],
  ['a.test', ['a.test', 'b.a.test', 'A.TEST', 'a.test:5000'], ['ba.test', 'a.test.b']],
  ['.a.test', ['b.a.test'], ['a.test']],
  ['*.a.test', ['b.a.test', 'c.b.a.test'], ['a.test']],
  ['a.test:5000', ['a.test:5000', 'b.a.test:5000'], ['a.test', 'a.test:5001']],
  ['a.test:443', ['a.test'], ['a.test:5000']],
  ['10.0.0.0/8', ['10.1.2.3', '10.255.0.1:5000'], ['11.0.0.1', 'ten.test']],
  ['fd00::/8', ['[fd00::1]', '[fdff::2]:5000'], ['[fe80::1]', '10.1.2.3']],
  ['10.1.2.3', ['10.1.2.3', '10.1.2.3:5000'], ['10.1.2.30', '110.1.2.3']],
  ['10.1.2.3:5000', ['10.1.2.3:5000'], ['10.1.2.3', '10.1.2.3:5001']],
  ['[fd00::1]:5000', ['[fd00::1]:5000'], ['[fd00::1]', '[fd00::2]:5000']],
  ['fd00::1', ['[fd00:0::1]', '[fd00::1]:5000'], ['[fd00::2]']],
  [' a.test , ,b.test', ['a.test', 'b.test'], ['c.test']],
  ['', [], ['a.test']],
  ['10.0.0.0/99,::/200', [], ['10.0.0.1', '[fd00::1]']],
]

for (const [list, exempt, others] of rules) {
  test(`NO_PROXY=${JSON.stringify(list)}`, () => {
    const choose = parseProxies({ ...proxies, NO_PROXY: list })
    for (const host of exempt) assert.equal(choose(new URL(`https://${host}`)), undefined, host)
    for (const host of others) assert.notEqual(choose(new URL(`https://${host}`)), undefined, host)
  })
}

test('what is no http proxy is refused, and its password not shown', () => {
  for (const value of [
    'ftp://ann:hunter2@proxy.test',
    'socks5://ann:hunter2@proxy.test',
    'http://',
    'http://ann:hunter2@',
  ]) {
    assert.throws(
      () => parseProxies({ HTTP_PROXY: value }),
      (error: unknown) => isWindlassError(error, 'USAGE') && !error.message.includes('hunter2'),
    )
  }
})
