import assert from 'node:assert/strict'
import { test } from 'node:test'
import { adviceOf, type Finding, makeFinding } from './finding.ts'

test('advice names the process that it is about, and none where that is not known', () => {
  const first = (code: Finding['code'], facts: Finding['facts'], language: 'en' | 'zh' = 'en') =>
    adviceOf(makeFinding(code, '', { facts }), language)[0]?.split(/[;:；：] ?|, /)[0]
  const line = { enginePid: 5, decompressorPid: 6, untarPid: 7 }
  assert.equal(first('DECOMPRESSOR_STOPPED', { ...line, stage: 'decompress' }), 'kill -CONT 6 lets it go on')
  assert.equal(first('DECOMPRESSOR_STOPPED', { stage: 'decompress' }), 'kill -CONT PID lets it go on')
  assert.equal(
    first('DECOMPRESSOR_STOPPED', { ...line, stage: 'decompress' }, 'zh'),
    'kill -CONT 6 可让它连同拉取一起继续',
  )
  assert.equal(first('UNTAR_STOPPED', { ...line, stage: 'unpack' }), 'kill -CONT 7 lets it go on')
  assert.equal(first('ENGINE_STOPPED', { ...line, stage: 'unpack' }), 'kill -CONT 5 lets it go on')
  assert.equal(first('ENGINE_STOPPED', { enginePid: 5 }), 'kill -CONT 5 lets it go on')
  assert.match(first('KERNEL_WAIT', { ...line, stage: 'unpack' }) ?? '', /^Look again in a minute\. If it stays so$/)
  const [kernel] = adviceOf(makeFinding('KERNEL_WAIT', '', { facts: { enginePid: 5, stage: 'unpack' } }), 'en')
  assert.match(kernel ?? '', /keep \/proc\/5\/task\/\*\/stack and dmesg/)
  assert.equal(first('PIPE_HELD', { pid: 8, pipe: 'pipe:[1]' }), 'kill 8')
  assert.equal(first('PIPE_HELD', { pid: 8, pipe: 'pipe:[1]' }, 'zh'), 'kill 8 结束持有该管道的进程')
})
