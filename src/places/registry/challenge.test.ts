import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Challenge, parseChallenges } from './challenge.ts'

function plain(challenges: readonly Challenge[]): [string, Record<string, string>][] {
  return challenges.map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])
}

const cases: [string | string[] | undefined, [string, Record<string, string>][]][] = [
  [undefined, []],
  ['', []],
  ['Basic', [['basic', {}]]],
  [
    'Bearer realm="https://a.test/token",service="reg",scope="repository:a/b:pull,push"',
    [['bearer', { realm: 'https://a.test/token', service: 'reg', scope: 'repository:a/b:pull,push' }]],
  ],
  [
    'Basic realm="say \\"hi\\", you", Bearer realm=https://a.test/t , Service = "x y"',
    [
      ['basic', { realm: 'say "hi", you' }],
      ['bearer', { realm: 'https://a.test/t', service: 'x y' }],
    ],
  ],
  [
    ['Negotiate YWJj==', 'bEaReR ReAlM="r"'],
    [
      ['negotiate', {}],
      ['bearer', { realm: 'r' }],
    ],
  ],
  [
    'Negotiate YWJj, Basic realm="r"',
    [
      ['negotiate', {}],
      ['basic', { realm: 'r' }],
    ],
  ],
  ['Bearer realm="first",realm="second"', [['bearer', { realm: 'first' }]]],
  ['Bearer realm=""', [['bearer', { realm: '' }]]],
  [
    'Bearer realm="unclosed, Basic x=y',
    [
      ['bearer', {}],
      ['basic', { x: 'y' }],
    ],
  ],
]

test('challenges of every shape are understood', () => {
  for (const [header, expected] of cases) assert.deepEqual(plain(parseChallenges(header)), expected, String(header))
})

test('any text ends in finite challenges', () => {
  const hostile = fc.string({
    unit: fc.constantFrom('"', '\\', ',', ' ', '=', 'a', 'Bearer', 'realm', '\t', '\0', 'é'),
  })
  fc.assert(
    fc.property(fc.oneof(fc.string(), hostile), text => {
      assert.ok(parseChallenges(text).length <= text.length)
    }),
  )
})

test('a long hostile header is read in linear time', () => {
  const started = performance.now()
  for (const piece of ['"', 'a ', 'a=', '\\', '=,', 'a="', ' ,', '"\\'])
    parseChallenges(`Bearer realm="${piece.repeat(16_000)}`)
  assert.ok(performance.now() - started < 30_000)
})

test('parameters come back as they were put in', () => {
  const name = fc.stringMatching(/^[a-z]{1,8}$/)
  const value = fc.string().filter(text => !/[\r\n]/.test(text))
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(name, value), { minLength: 1, selector: ([key]) => key }), parameters => {
      const text = parameters.map(([key, text]) => `${key}="${text.replace(/["\\]/g, '\\$&')}"`).join(', ')
      const [first] = parseChallenges(`Bearer ${text}, Basic`)
      assert.deepEqual([...(first?.parameters ?? [])], parameters)
    }),
  )
})
