import assert from 'node:assert/strict'
import { test } from 'node:test'
import { detectCompression } from './detect.ts'

test('the first bytes tell the compression', () => {
  const cases = [
    ['1f8b08000000', 'gzip'],
    ['28b52ffd0400', 'zstd'],
    ['502a4d180400', 'zstd'],
    ['5f2a4d180400', 'zstd'],
    ['fd377a585a00', 'xz'],
    ['425a68393141', 'bzip2'],
    ['2e2f00000000', 'none'],
    ['602a4d180400', 'none'],
    ['1f8b07000000', 'none'],
    ['1f8b', 'none'],
    ['', 'none'],
  ] as const
  for (const [head, compression] of cases) assert.equal(detectCompression(Buffer.from(head, 'hex')), compression, head)
})
