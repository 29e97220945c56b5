import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestDirectory } from '../unpack-tar.ts'
import { fuzzTars } from './differential.ts'

/** `npm run fuzz` does the same for as long as one likes. The seed is fixed, so that this test never fails by luck. */
test('archives come out as GNU tar or bsdtar unpacks them, or are refused; never a crash, a hang or anything outside', async t => {
  using directory = new TestDirectory()
  const count = 100
  const { faults, whole, summary } = await fuzzTars(directory.path, { count, seed: 4, deadlineMs: 100_000 })
  t.diagnostic(`${3 * count} archives, by GNU tar, bsdtar and windlass: ${summary}`)
  assert.deepEqual(faults, [])
  const same = whole.filter(({ verdict }) => verdict === 'same').length
  assert.ok(same > count / 3, `only ${same} of ${count} whole archives came out the same`)
})
