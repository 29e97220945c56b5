import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { checkUniqueKeys, readField, readStringMap } from './json.ts'
import { quote } from './quote.ts'

describe('readField', () => {
  it('never sees what an object inherits', () => {
    const object = JSON.parse('{"__proto__":{"size":1},"null":null,"zero":0}')
    assert.deepEqual(
      ['constructor', 'toString', 'size', 'null', 'zero'].map(name => readField(object, name)),
      [undefined, undefined, undefined, undefined, 0],
    )
  })
})

describe('readStringMap', () => {
  it('drops null values, as Go reads them as empty', () => {
    assert.deepEqual(readStringMap({ map: { a: 'b', c: null } }, 'map', 'x'), { a: 'b' })
  })
})

describe('checkUniqueKeys', () => {
  it('accepts whatever JSON.stringify writes', () => {
    fc.assert(fc.property(fc.jsonValue(), value => checkUniqueKeys(JSON.stringify(value), 'x')))
  })

  it('finds a key that stands twice in an object, however the object is nested and filled', () => {
    fc.assert(
      fc.property(fc.string(), fc.jsonValue(), fc.jsonValue(), (key, first, second) => {
        const [name, one, two] = [key, first, second].map(value => JSON.stringify(value))
        for (const text of [`{${name}:${one},${name}:${two}}`, `[${one},{"":{${name}: ${two} , ${name} : ${one}}}]`]) {
          assert.throws(() => checkUniqueKeys(text, 'x'), { code: 'CORRUPT' })
        }
      }),
    )
  })

  it('does not mind one key in several objects', () => {
    checkUniqueKeys('{"a":{"a":[{"a":1},{"a":"a"}]},"b":{"a":2}}', 'x')
  })

  it('takes 4 MiB in well under a second', () => {
    const start = performance.now()
    checkUniqueKeys(`[${'{"a":[],"b":"\\""},'.repeat(230_000)}0]`, 'x')
    assert.ok(performance.now() - start < 30_000)
  })
})

describe('quote', () => {
  it('leaves nothing that a terminal would obey or that would reorder a line', () => {
    assert.equal(quote('a\u001b[2J\n\u009b1m\u202eb\u2066'), '"a\\u001b[2J\\n?1m?b?"')
  })

  it('shortens long text', () => {
    assert.equal(quote('a'.repeat(10_000)).length, 163)
  })
})
