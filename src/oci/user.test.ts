import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { WindlassError } from '../errors.ts'
import { parseUser, parseUserFiles } from './user.ts'

const passwd =
  'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:\nbad:x:y:z\n# comment\n\napp:x:7:7::/other:\n42:x:5:5::/five:'
const group = 'root:x:0:\napp:x:1001:\nwheel:x:10:root,app\ndocker:x:99:app\nwheel2:x:10:app\nbad:x:-1:app\n'
const files = parseUserFiles({ passwd, group })

const users: [string, number, number, number[], string][] = [
  ['', 0, 0, [10], '/root'],
  ['root', 0, 0, [10], '/root'],
  ['0', 0, 0, [10], '/root'],
  ['app', 1000, 1001, [10, 99], '/home/app'],
  ['1000', 1000, 1001, [10, 99], '/home/app'],
  ['1000:', 1000, 1001, [10, 99], '/home/app'],
  ['app:docker', 1000, 99, [], '/home/app'],
  ['app:77', 1000, 77, [], '/home/app'],
  ['2000', 2000, 0, [], '/'],
  ['2000:3000', 2000, 3000, [], '/'],
  [':docker', 0, 99, [], '/root'],
  ['42', 5, 5, [], '/five'],
  ['2147483647', 2147483647, 0, [], '/'],
]

describe('parseUser', () => {
  for (const [text, uid, gid, additionalGids, home] of users) {
    it(`reads ${JSON.stringify(text)}`, () =>
      assert.deepEqual(parseUser(text, files), { uid, gid, additionalGids, home }))
  }

  it('takes numbers for themselves where the image has no files', () => {
    assert.deepEqual(parseUser('5:6'), { uid: 5, gid: 6, additionalGids: [], home: '/' })
    assert.deepEqual(parseUser(''), { uid: 0, gid: 0, additionalGids: [], home: '/root' })
  })

  for (const text of [
    'nobody',
    'bad',
    'app:nogroup',
    'app:bad',
    '-1',
    '2147483648',
    '1e3',
    '0x0',
    '1:2:3',
    '\u001b[2J',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseUser(text, files), { code: 'FAILED', message: /^Cannot run as (user|group) "[ -~]*$/ })
    })
  }

  it('throws nothing but FAILED on any text', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (text, passwdText, groupText) => {
        try {
          parseUser(text, parseUserFiles({ passwd: passwdText, group: groupText }))
        } catch (error) {
          assert.ok(error instanceof WindlassError && error.code === 'FAILED', String(error))
        }
      }),
    )
  })
})
